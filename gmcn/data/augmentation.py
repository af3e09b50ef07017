"""Augmentation of points, and of mixtures: exactly what fitting augmented points would give, without fitting again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from gmcn.data.objects import Inputs
from gmcn.declared import DISTINCT, above, at_least, at_most, below, read
from gmcn.errors import InputError
from gmcn.mixture import Mixture, affine, centre_and_variances
from gmcn.precision import full_precision

_WHERE = "training.augmentation"
Factor = Annotated[float, above(0), "A factor."]


@dataclass(frozen=True)
class Augmentation:
    """How training shapes are varied, anew in every epoch.

    Around its centre of mass, a shape is reflected and scaled along the data's axes, made as large as before where
    that is wanted, then rotated, then shifted.
    """

    rotation: Annotated[
        Literal["none", "axis", "any"],
        "Turning: none, axis (about z in 3D, in the plane in 2D), or any (uniformly over all rotations).",
    ] = "none"
    rotation_degrees: Annotated[
        float, at_least(0), at_most(180), "Largest angle of the rotation `axis`, either way."
    ] = 180.0
    scaling: Annotated[
        tuple[Factor, Factor], "Smallest and largest factor along each axis, drawn uniformly in the logarithm."
    ] = (1.0, 1.0)
    # The root of the variance per dimension, so that one value serves pixels and the unit sphere.
    translation: Annotated[
        float, at_least(0), "Largest shift along each axis, either way, in standard deviations of the shape."
    ] = 0.0
    reflection: Annotated[
        tuple[Annotated[int, at_least(0), at_most(2), "An axis."], ...],
        DISTINCT,
        "Axes (0 is x) along each of which a shape is reflected with probability 1/2.",
    ] = ()
    dropping: Annotated[
        float,
        at_least(0),
        below(1),
        "Probability of each Gaussian to get weight 0; the others then weigh more, at least one stays.",
    ] = 0.0
    keep_size: Annotated[
        bool,
        "Whether a scaled shape is made as large as it was, by the largest distance of a point, or of a Gaussian's "
        "mean, from the centre of mass: clouds in the unit sphere stay there.",
    ] = False

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Augmentation:
        """Settings from a mapping; raises :class:`InputError` for unknown names and impossible values."""
        if isinstance(values, Mapping):
            values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        augmentation = read(cls, values, _WHERE)
        if augmentation.rotation == "any" and augmentation.rotation_degrees != 180:
            raise InputError(
                f"{_WHERE}: 'rotation_degrees' is {augmentation.rotation_degrees}, but belongs to the rotation 'axis'"
            )
        if augmentation.scaling[0] > augmentation.scaling[1]:
            raise InputError(
                f"{_WHERE}: 'scaling' is {list(augmentation.scaling)}, but must have the smaller one first"
            )
        return augmentation

    def check_dim(self, dim: int) -> None:
        """Raise :class:`InputError` where data of ``dim`` dimensions lack an axis that is to be reflected."""
        if any(axis >= dim for axis in self.reflection):
            raise InputError(
                f"{_WHERE}: 'reflection' is {list(self.reflection)}, but must have axes below {dim} only: the data "
                f"have {dim} dimensions"
            )

    @property
    def moves(self) -> bool:
        """True if positions and covariances change at all."""
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
        matrix, steps = _draw(augmentation, uniform, dim)
        mixture = affine(mixture, *_about_centre(mixture, matrix, steps, augmentation.keep_size))
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
    return from_quaternions(
        torch.stack([short * second.cos(), long * first.sin(), long * first.cos(), short * second.sin()], -1)
    )


def from_quaternions(
    quaternions: Tensor,  # [..., 4] of length one, the real part first
) -> Tensor:  # [..., 3, 3]
    """Rotations as matrices."""
    w, x, y, z = quaternions.unbind(-1)
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
    keep_size: bool,
) -> tuple[Tensor, Tensor]:  # [..., D, D], [..., D]
    """The map that fixes the centre of mass but for ``steps``, in the mixture's coordinates, and the size if wanted."""
    centre, deviation = centre_and_deviation(mixture)
    matrix = matrix.to(centre)
    if keep_size:
        about = mixture.positions - centre[..., None, :]
        before, after = (rows.norm(dim=-1).amax(-1)[..., None, None] for rows in (about, about @ matrix.mT))
        matrix = matrix * torch.where(after > 0, before / after, 1.0)
    return matrix, centre + deviation[..., None] * steps.to(centre) - (matrix @ centre[..., None])[..., 0]


def centre_and_deviation(
    mixture: Mixture,  # [..., N]
) -> tuple[Tensor, Tensor]:  # [..., D], [...]
    """Centre of mass and standard deviation per dimension of the weights' magnitudes (equal ones where all are 0)."""
    centre, variances = centre_and_variances(mixture)
    return centre, variances.mean(-1).sqrt()
