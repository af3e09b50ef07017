"""Fit Gaussian mixtures to grey images: each pixel is a square whose mass is its brightness."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gmcn.errors import InputError
from gmcn.fitting.points import fit_points, which
from gmcn.mixture import Mixture

# Gauss-Legendre points and weights on [-1/2, 1/2]: exact for polynomials up to degree 5.
_NODES, _SHARES = (-(0.15**0.5), 0.0, 0.15**0.5), (5 / 18, 8 / 18, 5 / 18)


def square() -> tuple[Tensor, Tensor]:
    """A pixel as nine points: offsets [9, 2] from its centre and shares [9] of its mass."""
    offsets, shares = (torch.tensor(some, dtype=torch.float64, device="cpu") for some in (_NODES, _SHARES))
    return torch.cartesian_prod(offsets, offsets), torch.outer(shares, shares).flatten()


def pixels(images: Tensor, names: Sequence[str] | None = None) -> tuple[Tensor, Tensor]:
    """Pixel centres [S, M, 2] and brightness [S, M] of images [S, H, W], only the pixels that are lit.

    x is the column and y the row, downwards; the image covers [0, W] x [0, H], so a pixel's centre is at
    (column + 0.5, row + 0.5). M is the largest number of lit pixels in an image; others are filled up with mass 0.
    """
    if images.dim() != 3 or images.numel() == 0:
        raise InputError(f"images have shape {list(images.shape)}; they must be [images, rows, columns]")
    mass = images.flatten(1)
    if not mass.isfinite().all():
        raise InputError(f"{which('image', ~mass.isfinite().all(-1), names)} has a pixel that is not finite; mend it")
    if (mass < 0).any():
        raise InputError(f"{which('image', (mass < 0).any(-1), names)} has negative brightness; shift it first")
    lit = (mass > 0).sum(-1)
    if (lit == 0).any():
        raise InputError(f"{which('image', lit == 0, names)} is all black: there is nothing to fit; remove it")
    dtype = images.dtype if images.dtype in (torch.float32, torch.float64) else torch.float32
    image, pixel = (mass > 0).nonzero(as_tuple=True)
    place = torch.arange(len(image), device=image.device) - (lit.cumsum(0) - lit)[image]
    brightness = torch.zeros(len(images), int(lit.max()), dtype=dtype, device=image.device)
    brightness[image, place] = mass[image, pixel].to(dtype)
    centres = torch.zeros(*brightness.shape, 2, dtype=dtype, device=image.device)
    width = images.shape[2]
    centres[image, place] = torch.stack([pixel % width, pixel // width], dim=-1).to(dtype) + 0.5
    return centres, brightness


def fit_images(
    images: Tensor,  # [S, H, W]
    n: int,
    method: str = "kmeans",
    *,
    names: Sequence[str] | None = None,
    **options,
) -> Mixture:  # [S, n]
    """Fit a mixture of ``n`` Gaussians in 2D to each image.

    Images may be integers or floats, not negative. Units are pixels, axes as in :func:`pixels`. Clusters are made of
    pixels; moments and EM integrate over their squares by nine points each. Options, weights and errors as in
    :func:`gmcn.fitting.fit_points`; an image without a lit pixel is an :class:`InputError` that names it.
    """
    centres, mass = pixels(images, names)
    return fit_points(centres, n, method, weights=mass, nodes=square(), names=names, **options)
