"""Data sets: published files, readers for their formats, built-in sets, and one points artifact for all of them."""

from gmcn.data.download import download
from gmcn.data.sampling import READERS, sample

__all__ = ["READERS", "download", "sample"]
