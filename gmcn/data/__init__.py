"""Data sets: published files, readers for their formats, built-in sets, one points artifact, augmentation."""

from gmcn.data.augmentation import Augmentation, affine, augment
from gmcn.data.download import download
from gmcn.data.sampling import KINDS, sample

__all__ = ["KINDS", "Augmentation", "affine", "augment", "download", "sample"]
