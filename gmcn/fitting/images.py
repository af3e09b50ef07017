"""Fit Gaussian mixtures to grey images: each pixel is a square whose mass is its brightness."""

from __future__ import annotations

import torch
from torch import Tensor

from gmcn.errors import InputError
from gmcn.fitting.points import fit_points
from gmcn.mixture import Mixture

# Variance of a uniform distribution over a square of side 1, along each axis.
PIXEL_VARIANCE = 1 / 12


def pixels(images: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel centres [S, M, 2] and brightness [S, M] of images [S, H, W], only the pixels that are lit.

    x is the column and y the row, downwards; the image covers [0, W] x [0, H], so a pixel's centre is at
    (column + 0.5, row + 0.5). M is the largest number of lit pixels in an image; others are filled up with mass 0.
    """
    if images.dim() != 3 or images.numel() == 0:
        raise InputError(f"images have shape {list(images.shape)}; they must be [images, rows, columns]")
    mass = images.flatten(1)
    if (mass < 0).any():
        raise InputError(f"image {int((mass < 0).any(-1).int().argmax())} has negative brightness; shift it first")
    lit = (mass > 0).sum(-1)
    if (lit == 0).any():
        raise InputError(f"image {int((lit == 0).int().argmax())} is all black: there is nothing to fit; remove it")
    dtype = images.dtype if images.dtype in (torch.float32, torch.float64) else torch.float32
    image, pixel = (mass > 0).nonzero(as_tuple=True)
    place = torch.arange(len(image), device=image.device) - (lit.cumsum(0) - lit)[image]
    brightness = torch.zeros(len(images), int(lit.max()), dtype=dtype, device=image.device)
    brightness[image, place] = mass[image, pixel].to(dtype)
    centres = torch.zeros(*brightness.shape, 2, dtype=dtype, device=image.device)
    width = images.shape[2]
    centres[image, place] = torch.stack([pixel % width, pixel // width], dim=-1).to(dtype) + 0.5
    return centres, brightness


def fit_images(images: Tensor, n: int, method: str = "kmeans", **options) -> Mixture:
    """Fit a mixture of ``n`` Gaussians in 2D to each image: [S, H, W] -> Mixture [S, n].

    Images may be integers or floats, not negative. Units are pixels, axes as in :func:`pixels`; a pixel's own
    variance (1/12 along each axis) is part of the covariances. Options, weights and errors as in
    :func:`gmcn.fitting.fit_points`; an image without a lit pixel is an :class:`InputError` that names its index.
    """
    centres, mass = pixels(images)
    extent = PIXEL_VARIANCE * torch.eye(2, dtype=centres.dtype, device=centres.device)
    return fit_points(centres, n, method, weights=mass, point_covariance=extent, **options)
