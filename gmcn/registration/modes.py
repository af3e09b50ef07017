"""What a registration finds: every pose that may be the right one, with its weight."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gmcn.registration.rotations import angles_between


@dataclass(frozen=True)
class Registration:
    """Q poses ``scale R x + t`` of a source on a target, the heaviest first; all in float64.

    A pose's weight is the chance that it is the right one, among all that were found, also those that are not told.
    ``similarity`` is the cosine between the two densities, a little blurred: 1 for equal mixtures.
    """

    rotations: Tensor  # [Q, 3, 3]
    translations: Tensor  # [Q, 3]
    scales: Tensor  # [Q]
    weights: Tensor  # [Q], of sum 1 at most
    similarities: Tensor  # [Q]
    axis: Tensor | None = (
        None  # [3] in the target's space: about it, through the source's middle, any turn fits as well
    )

    @property
    def rotation(self) -> Tensor:  # [3, 3]
        """Of the heaviest mode."""
        return self.rotations[0]

    @property
    def translation(self) -> Tensor:  # [3]
        """Of the heaviest mode."""
        return self.translations[0]

    @property
    def scale(self) -> float:
        """Of the heaviest mode."""
        return float(self.scales[0])

    @property
    def confidence(self) -> float:
        """The weight of the heaviest mode."""
        return float(self.weights[0])

    @property
    def angles(self) -> Tensor:  # [Q]
        """By how many degrees the poses turn."""
        return angles_between(self.rotations, torch.eye(3, dtype=torch.float64)[None])[:, 0]

    @property
    def matrices(self) -> Tensor:  # [Q, 4, 4]
        """The poses as matrices of homogeneous coordinates."""
        matrices = torch.eye(4, dtype=torch.float64).repeat(len(self.weights), 1, 1)
        matrices[:, :3, :3] = self.scales[:, None, None] * self.rotations
        matrices[:, :3, 3] = self.translations
        return matrices

    @property
    def matrix(self) -> Tensor:  # [4, 4]
        """Of the heaviest mode."""
        return self.matrices[0]

    def move(
        self,
        points: Tensor,  # [..., 3]
        mode: int = 0,
    ) -> Tensor:  # [..., 3]
        """Points of the source where a mode has them in the target's space; of whole numbers in float64."""
        points = points if points.is_floating_point() else points.double()
        matrix = self.matrices[mode].to(points)
        return points @ matrix[:3, :3].mT + matrix[:3, 3]
