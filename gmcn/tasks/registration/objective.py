"""How far the pose of a partial cloud is from the true one, and the likelihood of the whole object behind it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmcn.data.objects import Inputs
from gmcn.data.views import view
from gmcn.errors import InputError
from gmcn.models import Network
from gmcn.models.registration import Answer, RegistrationNetwork
from gmcn.nn.tree_likelihood import exact, hard_path
from gmcn.registration.rotations import UPWARDS, turns
from gmcn.tasks.metric import Metric
from gmcn.tasks.task import OfClouds

LOSS = Metric("loss", "loss of poses and likelihoods", "nats", 3)
DEGREES = Metric("degrees", "error of the turn", "degrees", 1)
SEED = 0  # of what is seen where nothing is trained


class Objective(OfClouds):
    """Needs no labels. The network sees a part of each cloud (``training.views``), turned about z by any angle."""

    name = "registration"
    metrics = (LOSS, DEGREES)
    watched = LOSS

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> Inputs:
        """Augmented clouds: a turned part of each, the whole as it stands, the rotation's rows: [B, V + M + 3, 3]."""
        whole = super().prepare(inputs, generator)
        assert isinstance(whole, Tensor)  # of this task
        return self._turned(whole, generator)

    def fixed(self, inputs: Inputs) -> Inputs:
        """The same of clouds that are not varied, with a part and a turn that are the same each time."""
        assert isinstance(inputs, Tensor)  # of this task
        return self._turned(inputs, torch.Generator().manual_seed(SEED))

    def _turned(self, whole: Tensor, generator: torch.Generator) -> Tensor:
        seen = view(whole, self.views, generator)
        angles = 2 * math.pi * torch.rand(len(whole), dtype=torch.float64, generator=generator)
        rotations = turns(UPWARDS, angles).to(whole)
        return torch.cat([seen @ rotations.mT, whole, rotations], 1)

    def loss(
        self, network: Network, inputs: Inputs, labels: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:  # [], [B]
        """The mean of the losses, with the network's penalty; and the turns' errors."""
        network, prepared = _own(network, inputs)
        seen, whole, rotations = self._parts(prepared)
        answer, penalty = network.outputs_and_penalty(seen)
        losses, degrees = _losses(network, answer, whole, rotations)
        return losses.mean() + penalty, {DEGREES.name: degrees.detach()}

    def measure(self, network: Network, inputs: Inputs, labels: Tensor | None) -> dict[str, Tensor]:  # [B] each
        """The same, without the penalty."""
        network, prepared = _own(network, inputs)
        seen, whole, rotations = self._parts(prepared)
        losses, degrees = _losses(network, network(seen), whole, rotations)
        return {LOSS.name: losses, DEGREES.name: degrees}

    def _parts(self, prepared: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # [B, V, 3], [B, M, 3], [B, 3, 3]
        return self.seen(prepared), prepared[:, self.views.points : -3], prepared[:, -3:]


def _losses(
    network: RegistrationNetwork,
    answer: Answer,
    whole: Tensor,  # [B, M, 3]
    rotations: Tensor,  # [B, 3, 3]
) -> tuple[Tensor, Tensor]:  # [B], [B] degrees
    """Of each object: turn, translation (nothing but the turn has moved it) and the likelihoods of both trees."""
    angles = torch.atan2(rotations[:, 1, 0], rotations[:, 0, 0])
    losses = network.turn_weight * network.turn_loss(answer.poses, angles)
    losses = losses + network.translation_weight * answer.poses.translations.abs().mean(-1)
    for tree, points in ((answer.standing, whole), (answer.moved, whole @ rotations.mT)):
        if tree is not None:
            terms = torch.cat([hard_path(tree, points), exact(tree.leaves(), points)[..., None]], -1)
            losses = losses - terms.mean(1).sum(-1)
    away = answer.poses.angles.detach() - angles
    return losses, torch.rad2deg(torch.atan2(away.sin(), away.cos()).abs())


def _own(network: Network, inputs: Inputs) -> tuple[RegistrationNetwork, Tensor]:
    """Network and clouds as this task has them."""
    if not isinstance(network, RegistrationNetwork):
        raise InputError(f"{type(network).__name__} gives no poses; take the network `kind: registration`")
    assert isinstance(inputs, Tensor)  # check has seen to it
    return network, inputs
