"""What is believed of a pose before two clouds are compared, from what a network says of either cloud."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gmcn.registration.rotations import about_z

# Chosen by held-out training chairs (docs/registration.md).
DOUBT = 0.1  # the share of turns that may be any
LENGTH = 0.15  # by which translations may miss, in units of the clouds
FAR = 3.0  # of these lengths: no translation is less likely than one that misses by as much


@dataclass(frozen=True)
class Belief:
    """Logarithms of the chances of poses ``R x + t`` of a source on a target, R about z, up to a constant.

    Either cloud has chances of A angles about z, at which the object behind it may be turned, and a translation. A
    turn's chance is that of all pairs of angles which differ by it; its translation leads from one to the other.
    """

    source: tuple[Tensor, Tensor]  # [A] logarithms, [3]
    target: tuple[Tensor, Tensor]

    def turns(self) -> Tensor:  # [A]
        """Logarithms of the chances of the turns 0, 2 π / A, ..."""
        one, two = (chances.double().exp() for chances, _ in (self.source, self.target))
        both = torch.fft.irfft(torch.fft.rfft(one).conj() * torch.fft.rfft(two), len(one)).clamp(min=0)
        return ((1 - DOUBT) * both / both.sum() + DOUBT / len(one)).log()

    def __call__(
        self,
        rotations: Tensor,  # [P, 3, 3]
        translations: Tensor,  # [P, 3]
    ) -> Tensor:  # [P]
        chances = self.turns()
        places = torch.atan2(rotations[:, 1, 0], rotations[:, 0, 0]) * (len(chances) / (2 * math.pi))
        below = places.floor().long()
        share = places - below
        turned = (1 - share) * chances[below % len(chances)] + share * chances[(below + 1) % len(chances)]
        (_, first), (_, second) = self.source, self.target
        missed = (second.double() - rotations @ first.double() - translations).norm(dim=-1) / LENGTH
        return turned - missed.clamp(max=FAR)


@torch.no_grad()
def believe(
    network: Any,  # a gmcn.models.RegistrationNetwork, which lives a floor above
    source: Tensor,  # [M, 3]
    target: Tensor,  # [M', 3]
) -> Belief:
    """What a network says of two clouds."""
    own = next(network.parameters())
    said = [network.poses(cloud[None].to(own)) for cloud in (source, target)]
    one, two = ((poses.chances[0].cpu(), poses.translations[0].cpu()) for poses in said)
    return Belief(one, two)


@torch.no_grad()
def composed(
    network: Any,
    source: Tensor,  # [M, 3]
    target: Tensor,  # [M', 3]
) -> Tensor:  # [4, 4] float64
    """The pose by a network's answers alone: from the source back to how the object stands, and on to the target."""
    own = next(network.parameters())
    matrices = []
    for cloud in (source, target):
        poses = network.poses(cloud[None].to(own))
        matrix = torch.eye(4, dtype=torch.float64)
        matrix[:3, :3], matrix[:3, 3] = about_z(poses.angles[0].cpu().double()), poses.translations[0].cpu()
        matrices.append(matrix)
    return matrices[1] @ matrices[0].inverse()
