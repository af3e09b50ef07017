"""What EM does between its two matrix products: log-densities become responsibilities. Compiled on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from gmcn.ops import library  # noqa: F401  (loads the compiled operations)


def share_out(
    logs: Tensor,  # [..., T, N], contiguous; overwritten
    mass: Tensor,  # [..., T]
) -> tuple[Tensor, Tensor]:  # [..., T, N], [..., T]
    """Responsibilities times mass, in the place of log-densities, and the log-densities of the whole.

    Responsibilities of less than the cube of the rounding, which change no digit of a sum, are 0: products of them
    would be numbers without an exponent, for which processors take a hundred times as long.
    """
    if logs.device.type != "cpu":
        return by_torch(logs, mass)
    found = torch.ops.gmcn.shares(logs.view(-1, logs.shape[-1]), mass.reshape(-1))
    return logs, found.reshape(mass.shape)


def by_torch(logs: Tensor, mass: Tensor) -> tuple[Tensor, Tensor]:
    """Twin of :func:`share_out` for other devices."""
    whole = logs.logsumexp(-1)
    shares = logs.sub_(whole[..., None]).exp_()
    shares = torch.where(shares < torch.finfo(logs.dtype).eps ** 3, 0.0, shares)  # not-a-number stays
    return shares.mul_(mass[..., None]), whole
