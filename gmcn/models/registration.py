"""The pose of a partial cloud and the whole object behind it, each as a code of its own.

points [B, M, 3] -> shape code [B, Z] -> tree of the object as it stands
points, shape code -> pose code [B, P] -> a turn about z and a translation; both codes -> tree of the moved object

The registration half of *PointGMM: a Neural GMM Network for Point Clouds* (Hertz, Hanocka, Giryes and Cohen-Or, CVPR
2020), for objects of one class. Instead of one angle it gives chances of many, so that a chair without a back may be
turned either way. docs/registration.md says where the paper, the authors' code and this one differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from gmcn.declared import FILLED, above, at_least, at_most
from gmcn.errors import InputError
from gmcn.mixture import Frame, GaussianMixture, MixtureTree
from gmcn.models.network import Dim, InitialSeed, Network, Probability, seeded
from gmcn.nn.norm import BatchNorm
from gmcn.nn.point_encoder import PointEncoder
from gmcn.nn.tree_decoder import TreeDecoder

HIDDEN = 512
# Chances about a direction that stands alone: of so many angles, a bell of so many degrees. Ours, and never tuned.
ANGLES, WIDTH = 72, 15.0
AROUND = 2  # angles on either side of the most likely one, whose mean is the answer


class Poses(NamedTuple):
    """What lays B objects as they stand on clouds: ``R x + t`` with a turn R about z."""

    chances: Tensor  # [B, A] logarithms, of the angles 0, 2 π / A, ...
    angles: Tensor  # [B] radians
    translations: Tensor  # [B, 3]


class Answer(NamedTuple):
    """What the network says of B clouds; the trees are None without a decoder."""

    poses: Poses
    standing: MixtureTree | None  # the whole objects as they stand
    moved: MixtureTree | None  # the whole objects where the clouds lie


class RegistrationNetwork(Network):
    """Poses and whole objects of partial clouds of one class, for the task `registration`.

    Raises:
        InputError: for a value that cannot be, or points of another shape.
    """

    takes = ("points",)
    tasks = ("registration",)

    def __init__(
        self,
        dim: Dim = 3,
        *,
        latent: Annotated[int, at_least(1), "Numbers of a shape code."] = 128,
        pose: Annotated[int, at_least(1), "Numbers of a pose code."] = 256,
        encoder: Annotated[
            Sequence[Annotated[int, at_least(1), "Numbers that a layer makes of each point."]],
            FILLED,
            "Layers that all points share, of the shape's and the pose's encoder each.",
        ] = (64, 128, 512),
        neighbours: Annotated[
            int,
            at_least(0),
            "Neighbours by which the shape's encoder sees a point, whatever the rotation; 0: by its coordinates.",
        ] = 0,
        angles: Annotated[
            int, at_least(0), "Angles about z that get a chance each; 0: a direction alone, as published."
        ] = 72,
        decoder: Annotated[bool, "Whether whole objects are made of the codes, and trained on; or poses alone."] = True,
        width: Annotated[int, at_least(8), "Numbers of each feature that becomes a Gaussian."] = 128,
        splits: Annotated[
            int, at_least(0), at_most(5), "How often each Gaussian is split into four; the first level has eight."
        ] = 2,
        attention: Annotated[bool, "Whether Gaussians see their siblings before they are split."] = True,
        dropout: Annotated[
            Probability, "Probability to drop a value where poses are made and Gaussians are split."
        ] = 0.1,
        turn_weight: Annotated[float, above(0), "Factor in the loss of the turn."] = 10.0,
        translation_weight: Annotated[float, above(0), "Factor in the loss of the translation."] = 50.0,
        flatness: Annotated[float, at_least(0), "Factor in the loss of the leaves' mean smallest variance."] = 10.0,
        floor: Annotated[float, above(0), "Smallest variance of a Gaussian, in squared units of the data."] = 1e-6,
        seed: InitialSeed = None,
    ) -> None:
        super().__init__()
        if dim != 3:
            raise InputError(f"the data have {dim} dimensions, and poses are those of 3D points; take such")
        if 0 < angles <= 2 * AROUND:
            raise InputError(f"{angles} angles are too few for chances; take {2 * AROUND + 1} or more, or 0 for none")
        self.angles, self.neighbours, self.flatness = angles, neighbours, flatness
        self.turn_weight, self.translation_weight = turn_weight, translation_weight
        with seeded(seed, self):
            self.shape_encoder = PointEncoder(dim, encoder, neighbours)
            self.shape_code = nn.Sequential(*_layer(encoder[-1], HIDDEN), nn.Linear(HIDDEN, latent))
            self.pose_encoder = PointEncoder(dim + latent, encoder)
            self.pose_code = nn.Sequential(*_layer(encoder[-1], HIDDEN), nn.Dropout(dropout), *_layer(HIDDEN, pose))
            self.pose_head = nn.Linear(pose, 3 + (angles or 2))
            self.decoder = None
            if decoder:
                self.decoder = TreeDecoder(
                    latent, width, splits, attention=attention, dropout=dropout, floor=floor, conditions=pose
                )

    def forward(
        self,
        points: Tensor,  # [B, M, 3]
    ) -> Answer:
        """Poses and whole objects, in the units of the data, wherever the clouds lie."""
        poses, shape, pose = self._codes(points)
        if self.decoder is None:
            return Answer(poses, None, None)
        standing, moved = self.decoder(shape, torch.zeros_like(pose)), self.decoder(shape, pose)
        middle = points.mean(1, keepdim=True)
        levels = (GaussianMixture(level.logits, level.means + middle, level.covariance) for level in moved.levels)
        return Answer(poses, standing, MixtureTree(tuple(levels)))

    def poses(
        self,
        points: Tensor,  # [B, M, 3]
    ) -> Poses:
        """Those of :meth:`forward`, without the whole objects."""
        return self._codes(points)[0]

    def _codes(self, points: Tensor) -> tuple[Poses, Tensor, Tensor]:  # and [B, Z], [B, P]
        if points.ndim != 3 or points.shape[-1] != 3:
            raise InputError(f"clouds to register are {list(points.shape)}, but must be [B, M, 3]")
        # A translation moves all that is said of a cloud with it.
        middle = points.mean(1, keepdim=True)  # [B, 1, 3]
        centred = points - middle
        shape = self.shape_code(self.shape_encoder(centred))
        beside = shape[:, None].expand(-1, points.shape[1], -1)
        pose = self.pose_code(self.pose_encoder(torch.cat([centred, beside], -1)))
        moves, turn = self.pose_head(pose).split([3, self.angles or 2], -1)
        return self._poses(turn, moves + middle[:, 0]), shape, pose

    def _poses(self, turn: Tensor, translations: Tensor) -> Poses:
        if not self.angles:
            cosines, sines = functional.normalize(turn, dim=-1).unbind(-1)
            angles = torch.atan2(sines, cosines)
            return Poses(bell(angles, ANGLES, math.radians(WIDTH)).log(), angles, translations)
        chances, best = turn.log_softmax(-1), turn.argmax(-1, keepdim=True)
        near = torch.arange(-AROUND, AROUND + 1, device=turn.device)
        shares = chances.gather(-1, (best + near) % self.angles).softmax(-1)
        angles = (best[:, 0] + (shares * near).sum(-1)) * (2 * math.pi / self.angles)
        return Poses(chances, angles, translations)

    def outputs_and_penalty(
        self,
        inputs: Tensor,  # [B, M, 3]
    ) -> tuple[Answer, Tensor]:
        """The answer, and what the leaves' thickness costs, []."""
        answer, penalty = self(inputs), inputs.new_zeros(())
        for tree in (answer.standing, answer.moved):
            if tree is not None:
                covariance = tree.leaves().covariance
                assert isinstance(covariance, Frame)  # as the decoder makes them
                penalty = penalty + self.flatness * covariance.variances.amin(-1).mean() / 2
        return answer, penalty

    def turn_loss(
        self,
        poses: Poses,  # of B clouds
        angles: Tensor,  # [B] radians
    ) -> Tensor:  # [B]
        """How far turns are from true ones: the cross-entropy to a bell of one angle's width; published, 1 - cosine."""
        if not self.angles:
            return 1 - (poses.angles - angles).cos()
        wanted = bell(angles, self.angles, 2 * math.pi / self.angles)
        return -(wanted * poses.chances).sum(-1)


def bell(
    angles: Tensor,  # [B] radians
    count: int,
    width: float,
) -> Tensor:  # [B, count]
    """Chances of the angles 0, 2 π / count, ... about true ones: von Mises, with this standard deviation in radians."""
    away = angles[:, None] - torch.arange(count, device=angles.device) * (2 * math.pi / count)
    return ((away.cos() - 1) / width**2).softmax(-1)


def _layer(given: int, made: int) -> tuple[nn.Module, ...]:
    return nn.Linear(given, made, bias=False), BatchNorm(made), nn.ReLU()
