"""What is believed of a pose before two clouds are compared, from what a network says of either cloud."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gmcn.errors import InputError
from gmcn.registration.rotations import UPWARDS, turns

# Tried on held-out training chairs, where they hardly matter (docs/registration.md).
DOUBT = 0.1  # the share of turns that may be any
LENGTH = 0.15  # by which translations may miss, in units of the clouds
FAR = 3.0  # of these lengths: no translation is less likely than one that misses by as much


@dataclass(frozen=True)
class Belief:
    """Logarithms of the chances of poses ``R x + t`` of a source on a target, R about z, up to a constant.

    Either cloud has chances of A angles about z, at which the object behind it may be turned, and a translation. A
    turn's chance is that of all pairs of angles which differ by it; its translation leads from one to the other.
    """

    source: tuple[Tensor, Tensor]  # [A] logarithms, [3], in float64
    target: tuple[Tensor, Tensor]

    @functools.cached_property
    def turns(self) -> Tensor:  # [A]
        """Logarithms of the chances of the turns 0, 2 π / A, ..."""
        one, two = (chances.exp() for chances, _ in (self.source, self.target))
        both = torch.fft.irfft(torch.fft.rfft(one).conj() * torch.fft.rfft(two), len(one)).clamp(min=0)
        return ((1 - DOUBT) * both / both.sum() + DOUBT / len(one)).log()

    def __call__(
        self,
        rotations: Tensor,  # [P, 3, 3]
        translations: Tensor,  # [P, 3]
    ) -> Tensor:  # [P]
        chances = self.turns
        places = torch.atan2(rotations[:, 1, 0], rotations[:, 0, 0]) * (len(chances) / (2 * math.pi))
        below = places.floor().long()
        share = places - below
        turned = (1 - share) * chances[below % len(chances)] + share * chances[(below + 1) % len(chances)]
        (_, first), (_, second) = self.source, self.target
        missed = (second - rotations @ first - translations).norm(dim=-1) / LENGTH
        return turned - missed.clamp(max=FAR)


def believe(
    network: Any,  # a gmcn.models.RegistrationNetwork, which lives a floor above
    source: Tensor,  # [M, 3]
    target: Tensor,  # [M', 3]
) -> Belief:
    """What a network says of two clouds. Raises :class:`InputError` where that is not finite."""
    (one, _, first), (two, _, second) = _asked(network, source, "source"), _asked(network, target, "target")
    return Belief((one, first), (two, second))


def composed(
    network: Any,
    source: Tensor,  # [M, 3]
    target: Tensor,  # [M', 3]
) -> Tensor:  # [4, 4] float64
    """The pose by a network's answers alone: from the source back to how the object stands, and on to the target.

    Raises :class:`InputError` where these are not finite.
    """
    matrices = []
    for cloud, name in ((source, "source"), (target, "target")):
        _, angle, translation = _asked(network, cloud, name)
        matrix = torch.eye(4, dtype=torch.float64)
        matrix[:3, :3], matrix[:3, 3] = turns(UPWARDS, angle[None])[0], translation
        matrices.append(matrix)
    return matrices[1] @ matrices[0].inverse()


@torch.no_grad()
def _asked(network: Any, cloud: Tensor, name: str) -> tuple[Tensor, Tensor, Tensor]:  # [A], [], [3] float64
    # Far from the origin float32 has no digits left for the shape.
    middle = cloud.double().mean(0)
    poses = network.poses((cloud.double() - middle)[None].to(next(network.parameters())))
    chances, angle, translation = (part[0].cpu().double() for part in poses)
    if not (chances.logsumexp(0).isfinite() and angle.isfinite() and translation.isfinite().all()):
        raise InputError(f"what the network says of the {name} is not finite; train it again")
    return chances, angle, translation + middle.cpu()
