"""Augmentation of points, and of mixtures: exactly what fitting augmented points would give, without fitting again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from gmcn.data.objects import Inputs
from gmcn.errors import InputError, unknown
from gmcn.mixture import Mixture, affine
from gmcn.precision import full_precision

ROTATIONS = ("none", "axis", "any")


@dataclass(frozen=True)
class Augmentation:
    """How shapes are varied in training; the section ``training.augmentation`` of a variant.

    Around its centre of mass, a shape is reflected and scaled along the data's axes, then rotated, then shifted.

    Args:
        rotation: "axis" turns about z in 3D and in the plane in 2D, "any" uniformly over all rotations.
        rotation_degrees: largest angle of "axis", either way.
        scaling: smallest and largest factor, drawn for each axis by itself, uniformly in the logarithm.
        translation: largest shift along each axis, either way, in standard deviations of the shape: the root of
            its variance per dimension, so that one value serves pixels and the unit sphere.
        reflection: axes (0 is x) along each of which a shape is reflected with probability 1/2.
        dropping: probability of each component to get weight 0.
    """

    rotation: str = "none"
    rotation_degrees: float = 180.0
    scaling: tuple[float, float] = (1.0, 1.0)
    translation: float = 0.0
    reflection: tuple[int, ...] = ()
    dropping: float = 0.0

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Augmentation:
        """Settings from a mapping; raises :class:`InputError` for unknown names and impossible values."""
        if not isinstance(values, Mapping):
            raise _bad("", values, "a mapping of settings")
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise unknown("augmentation setting", name, known)
        hashable = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        augmentation = cls(**hashable)
        augmentation.check()
        return augmentation

    def check(self) -> None:
        """Raise :class:`InputError` for the first value that cannot be."""
        if self.rotation not in ROTATIONS:
            raise unknown("rotation", self.rotation, ROTATIONS)
        if not (_is_number(self.rotation_degrees) and 0 <= self.rotation_degrees <= 180):
            raise _bad("rotation_degrees", self.rotation_degrees, "a number between 0 and 180")
        if self.rotation == "any" and self.rotation_degrees != 180:
            raise _bad("rotation_degrees", self.rotation_degrees, "180 where rotation is 'any'; it belongs to 'axis'")
        pair = isinstance(self.scaling, tuple) and len(self.scaling) == 2 and all(map(_is_number, self.scaling))
        if not (pair and 0 < self.scaling[0] <= self.scaling[1]):
            raise _bad("scaling", self.scaling, "two positive numbers, the smaller one first")
        if not (_is_number(self.translation) and self.translation >= 0):
            raise _bad("translation", self.translation, "a number of standard deviations, 0 or more")
        axes = self.reflection if isinstance(self.reflection, tuple) else (None,)
        if any(type(axis) is not int or axis not in range(3) for axis in axes) or len(set(axes)) < len(axes):
            raise _bad("reflection", self.reflection, "a list of different axes out of 0, 1 and 2")
        if not (_is_number(self.dropping) and 0 <= self.dropping < 1):
            raise _bad("dropping", self.dropping, "a probability, 0 or more and less than 1")

    def check_dim(self, dim: int) -> None:
        """Raise :class:`InputError` where data of ``dim`` dimensions lack an axis that is to be reflected."""
        if any(axis >= dim for axis in self.reflection):
            raise _bad("reflection", self.reflection, f"a list of axes below {dim}: the data have {dim} dimensions")

    @property
    def moves(self) -> bool:
        """Whether positions and covariances change at all."""
        return bool(self.rotation != "none" or self.scaling != (1, 1) or self.translation or self.reflection)


@full_precision
def augment(
    inputs: Inputs,  # mixtures [..., N] or points [..., M, D]
    augmentation: Augmentation,
    generator: torch.Generator,
) -> Inputs:  # as given
    """Each mixture or cloud varied by random numbers of its own from ``generator``, which is one of the CPU.

    As many numbers are drawn whatever is switched on: one setting does not change what another one does, and the
    same generator varies a batch in the same way on every device. A point that is dropped takes the place of the
    first one that is not, as in PointNet++: a cloud keeps its size.

    Raises:
        InputError: the inputs lack an axis that is to be reflected.
    """
    if isinstance(inputs, Mixture):
        return _augment(inputs, augmentation, generator)
    cloud = Mixture(inputs.new_ones(inputs.shape[:-1]), inputs, inputs.new_zeros(*inputs.shape, inputs.shape[-1]))
    weights, points, _ = _augment(cloud, augmentation, generator)
    kept = weights != 0  # [..., M]
    first = kept.int().argmax(-1)[..., None, None].expand(*points.shape[:-2], 1, points.shape[-1])
    return torch.where(kept[..., None], points, points.gather(-2, first))


def _augment(
    mixture: Mixture,  # [..., N]
    augmentation: Augmentation,
    generator: torch.Generator,
) -> Mixture:  # [..., N]
    dim = mixture.dim
    augmentation.check_dim(dim)
    kind = {"dtype": torch.float64, "device": generator.device}
    uniform = torch.rand(*mixture.batch_shape, 3 + 3 * dim, generator=generator, **kind)
    chances = torch.rand(mixture.weights.shape, generator=generator, **kind)
    if augmentation.moves:
        mixture = affine(mixture, *_about_centre(mixture, *_draw(augmentation, uniform, dim)))
    if augmentation.dropping:
        mixture = drop(mixture, augmentation.dropping, chances)
    return mixture


def drop(
    mixture: Mixture,  # [..., N]
    probability: float,
    uniform: Tensor,  # [..., N]
) -> Mixture:  # [..., N]
    """The mixture with weight 0 for each component whose number in ``uniform`` [0, 1) is below ``probability``.

    Of the components that weigh anything, the one with the largest number always stays. The weights that are left
    grow by one factor that keeps the sum of magnitudes, which for a fitted mixture is its integral. (The integral of
    weights of both signs may be left with nothing to scale.) Positions and covariances stay.
    """
    weights = mixture.weights
    uniform = uniform.to(weights.device)
    chances = torch.where(weights != 0, uniform, -1.0)
    kept = torch.where((chances >= probability) | (chances == chances.amax(-1, keepdim=True)), weights, 0.0)
    magnitude = kept.abs().sum(-1, keepdim=True)
    factor = torch.where(magnitude > 0, weights.abs().sum(-1, keepdim=True) / magnitude, 1.0)
    return mixture._replace(weights=kept * factor)


def uniform_rotations(
    uniform: Tensor,  # [..., 3]
) -> Tensor:  # [..., 3, 3]
    """Rotations distributed uniformly over all of them, from numbers distributed uniformly in [0, 1).

    A quaternion distributed uniformly on the sphere (Shoemake 1992, Graphics Gems III, "Uniform random rotations").
    """
    first, second = 2 * math.pi * uniform[..., 1], 2 * math.pi * uniform[..., 2]
    long, short = (1 - uniform[..., 0]).sqrt(), uniform[..., 0].sqrt()
    x, y, z, w = long * first.sin(), long * first.cos(), short * second.sin(), short * second.cos()
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def axis_rotations(
    angles: Tensor,  # [...] in radians
    dim: int,
) -> Tensor:  # [..., D, D]
    """Rotations from x towards y: in the plane in 2D, about z in 3D."""
    matrix = torch.eye(dim, dtype=angles.dtype, device=angles.device).repeat(*angles.shape, 1, 1)
    matrix[..., 0, 0] = matrix[..., 1, 1] = angles.cos()
    matrix[..., 1, 0] = angles.sin()
    matrix[..., 0, 1] = -matrix[..., 1, 0]
    return matrix


def _draw(
    augmentation: Augmentation,
    uniform: Tensor,  # [..., 3 + 3 D]
    dim: int,
) -> tuple[Tensor, Tensor]:
    """Matrices [..., D, D] and shifts [..., D], the latter in standard deviations."""
    turn, stretch, mirror, step = uniform.split([3, dim, dim, dim], -1)
    if augmentation.rotation == "any" and dim == 3:
        rotation = uniform_rotations(turn)
    else:
        degrees = 0.0 if augmentation.rotation == "none" else augmentation.rotation_degrees
        rotation = axis_rotations(math.radians(degrees) * (2 * turn[..., 0] - 1), dim)
    low, high = augmentation.scaling
    factors = low * (high / low) ** stretch
    for axis in augmentation.reflection:
        factors[..., axis] *= torch.where(mirror[..., axis] < 0.5, -1.0, 1.0)
    return rotation * factors[..., None, :], augmentation.translation * (2 * step - 1)


def _about_centre(
    mixture: Mixture,  # [..., N]
    matrix: Tensor,  # [..., D, D]
    steps: Tensor,  # [..., D] in standard deviations
) -> tuple[Tensor, Tensor]:  # [..., D, D], [..., D]
    """The map that fixes the centre of mass but for ``steps``, in the mixture's coordinates."""
    centre, deviation = centre_and_deviation(mixture)
    matrix = matrix.to(centre)
    return matrix, centre + deviation[..., None] * steps.to(centre) - (matrix @ centre[..., None])[..., 0]


def centre_and_deviation(
    mixture: Mixture,  # [..., N]
) -> tuple[Tensor, Tensor]:  # [..., D], [...]
    """Centre of mass and standard deviation per dimension of the weights' magnitudes (equal ones where all are 0)."""
    shares = mixture.weights.abs()
    shares = torch.where(shares.sum(-1, keepdim=True) > 0, shares, 1.0)
    shares = (shares / shares.sum(-1, keepdim=True))[..., None]
    centre = (shares * mixture.positions).sum(-2, keepdim=True)
    variances = (mixture.positions - centre).square() + mixture.covariances.diagonal(dim1=-2, dim2=-1)
    return centre[..., 0, :], (shares * variances).sum(-2).mean(-1).sqrt()


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _bad(name: str, value: Any, wanted: str) -> InputError:
    shown = list(value) if isinstance(value, tuple) else value
    return InputError(f"training.augmentation{name and '.'}{name} is {shown!r}; it has to be {wanted}")
