"""Folding and pooling of deep convolutional Gaussian mixtures (DCGMM, section 3.1), upwards and downwards."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gmcn.errors import InputError

Pair = tuple[int, int]
Size = int | Pair  # one number for both directions, or rows and columns


class _Window(nn.Module):
    """A window of ``kernel`` positions that moves by ``stride``."""

    def __init__(self, kernel: Size, stride: Size) -> None:
        super().__init__()
        self.kernel, self.stride = _pair(kernel, "kernel"), _pair(stride, "stride")

    def extra_repr(self) -> str:
        return f"kernel={self.kernel}, stride={self.stride}"

    def _steps(self, size: Pair) -> Pair:
        """How often the window fits; :class:`InputError` where it does not at all."""
        if any(window > whole for window, whole in zip(self.kernel, size, strict=True)):
            raise InputError(
                f"a window of {_times(self.kernel)} does not fit {_times(size)} positions; make it smaller"
            )
        rows, columns = ((s - k) // d + 1 for s, k, d in zip(size, self.kernel, self.stride, strict=True))
        return rows, columns


class Folding(_Window):
    """Puts all that a sliding window sees into channels: [B, C, H, W] -> [B, C fy fx, H', W'], as torch's unfold.

    H' = 1 + (H - fy) / dy, and W' alike, without padding.

    Args:
        kernel: fy, fx.
        stride: dy, dx.

    Raises:
        InputError: sizes below 1; of an input, a window that does not fit, or leaves some of the positions out.
    """

    def __init__(self, kernel: Size, stride: Size = 1) -> None:
        super().__init__(kernel, stride)

    def output(self, channels: int, size: Pair) -> tuple[int, Pair]:
        """Channels and positions of the output."""
        steps = self._steps(size)
        for whole, window, step, count in zip(size, self.kernel, self.stride, steps, strict=True):
            if (step > window and count > 1) or window + step * (count - 1) != whole:
                raise InputError(
                    f"windows of {_times(self.kernel)} in steps of {_times(self.stride)} leave some of {_times(size)} "
                    "positions out; take another window or step"
                )
        return channels * self.kernel[0] * self.kernel[1], steps

    def forward(
        self,
        x: Tensor,  # [B, C, H, W]
    ) -> Tensor:  # [B, C fy fx, H', W']
        """Estimation."""
        _, size = self.output(x.shape[1], _size(x))
        return functional.unfold(x, self.kernel, stride=self.stride).unflatten(2, size)

    def down(
        self,
        y: Tensor,  # [B, C fy fx, H', W']
        size: Pair,
    ) -> Tensor:  # [B, C, H, W]
        """Sampling: each value is the mean of all windows that have one for it."""
        many: dict[str, Any] = {"output_size": size, "kernel_size": self.kernel, "stride": self.stride}
        ones = y.new_ones(1, self.kernel[0] * self.kernel[1], y.shape[2] * y.shape[3])
        return functional.fold(y.flatten(2), **many) / functional.fold(ones, **many)


class Pooling(_Window):
    """Keeps the largest value of a window: [B, C, H, W] -> [B, C, H', W'], as torch's max pooling.

    Args:
        kernel: ky, kx.
        stride: by default the kernel.

    Raises:
        InputError: sizes below 1; of an input, a window that does not fit.
    """

    def __init__(self, kernel: Size, stride: Size | None = None) -> None:
        super().__init__(kernel, kernel if stride is None else stride)

    def output(self, channels: int, size: Pair) -> tuple[int, Pair]:
        """Channels and positions of the output."""
        return channels, self._steps(size)

    def forward(
        self,
        x: Tensor,  # [B, C, H, W]
    ) -> Tensor:  # [B, C, H', W']
        """Estimation."""
        rows, columns = self._steps(_size(x))
        if self.kernel != self.stride or x.requires_grad or x.is_cuda:
            return functional.max_pool2d(x, self.kernel, self.stride)
        # Twice as fast as torch's, which also looks where they are.
        (ky, kx), x = self.kernel, x.movedim(1, -1)
        x = functools.reduce(torch.maximum, (x[:, place : rows * ky : ky] for place in range(ky)))
        x = functools.reduce(torch.maximum, (x[:, :, place : columns * kx : kx] for place in range(kx)))
        return x.movedim(-1, 1)

    def down(
        self,
        y: Tensor,  # [B, C, H', W']
        size: Pair,
    ) -> Tensor:  # [B, C, H, W]
        """Sampling: each value is repeated at all positions of its step, the last ones up to the end."""
        rows, columns = (
            (torch.arange(whole, device=y.device) // step).clamp(max=count - 1)
            for whole, step, count in zip(size, self.stride, y.shape[2:], strict=True)
        )
        return y[:, :, rows][:, :, :, columns]


def _pair(size: Size, name: str) -> Pair:
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or any(type(one) is not int or one < 1 for one in pair):
        raise InputError(f"{name} is {size}; it must be one or two whole numbers of at least 1")
    return pair


def _size(x: Tensor) -> Pair:
    return x.shape[2], x.shape[3]


def _times(size: Pair) -> str:
    return f"{size[0]} x {size[1]}"
