"""One Gaussian mixture of all objects of a data set; with low-rank covariances, a mixture of factor analysers.

objects [B, ...] -> values in a row, over the largest -> log p [B]
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from gmcn.declared import above, at_least
from gmcn.errors import InputError
from gmcn.fitting import MixtureEstimator
from gmcn.mixture import Diagonal, Full, GaussianMixture, LowRank
from gmcn.mixture.tensors import mapped
from gmcn.models.density import Density
from gmcn.models.generative import no_options
from gmcn.models.mlp import Shape
from gmcn.models.network import InitialSeed, seeded

DEAD = 0.01  # a component of less than this share of the mean weight
RARE = -20.0  # log weight that a component without objects starts with, which a gradient can raise again


class GMM(Density):
    """A Gaussian mixture of the values of images or vectors of one shape, with `fit: null` and `task: density`.

    Its parameters are those of :attr:`mixture`. Trained by `optimizer: em`, or by gradients from a start by k-means;
    then variances are clipped at the floor after each step.

    Raises:
        InputError: for a value that cannot be, or an input of another shape.
    """

    takes = ("images", "vectors")
    places: Tensor  # [D (D + 1) / 2] of the triangle in L
    diagonal: Tensor  # [D] of L's diagonal in the triangle

    def __init__(
        self,
        shape: Shape,
        *,
        components: Annotated[int, at_least(1), "Gaussians of the mixture (N)."] = 25,
        covariance: Annotated[
            Literal["low-rank", "diagonal", "spherical", "full"], "Family of the Gaussians' covariances."
        ] = "diagonal",
        rank: Annotated[int, at_least(1), "Factors of `low-rank`."] = 4,
        floor: Annotated[
            float,
            above(0),
            "Least variance of a component (`low-rank`: beside its factors); `largest` is 1.",
        ] = 0.01,
        flooring: Annotated[
            Literal["clip", "add"], "Whether em raises lower variances to the floor, or adds it to all."
        ] = "clip",
        largest: Annotated[float, above(0), "The value of an object that counts as 1: 255 of 8 bits."] = 255.0,
        seed: InitialSeed = None,
    ) -> None:
        super().__init__()
        self.shape, self.covariance, self.largest = tuple(shape), covariance, largest
        self.least = math.sqrt(floor)
        dim = math.prod(shape)
        self.options: dict[str, Any] = {"covariance": covariance, "floor": floor, "flooring": flooring}
        if covariance == "low-rank":
            self.options["rank"] = rank
        with seeded(seed, self):
            self.logits = nn.Parameter(torch.zeros(components))
            self.means = nn.Parameter(torch.rand(components, dim))
            if covariance == "full":
                rows, columns = torch.tril_indices(dim, dim)
                self.register_buffer("places", rows * dim + columns, persistent=False)
                row = torch.arange(dim)
                self.register_buffer("diagonal", row * (row + 3) // 2, persistent=False)
                triangle = torch.zeros(components, len(rows)).index_fill(1, self.diagonal, max(0.5, self.least))
                self.triangle = nn.Parameter(triangle)  # [N, D (D + 1) / 2]
            else:
                width = 1 if covariance == "spherical" else dim
                self.std = nn.Parameter(torch.full((components, width), max(0.5, self.least)))
            if covariance == "low-rank":
                self.factor = nn.Parameter(torch.randn(components, dim, rank) / math.sqrt(dim))

    @property
    def mixture(self) -> GaussianMixture:  # [N]
        """The density of values of which the largest is one."""
        if self.covariance == "full":
            count, dim = self.means.shape
            factor = self.means.new_zeros(count, dim * dim).index_copy(1, self.places, self.triangle)
            return GaussianMixture(self.logits, self.means, Full(factor.unflatten(1, (dim, dim))))
        std = self.std.expand(self.means.shape)
        family = LowRank(std, self.factor) if self.covariance == "low-rank" else Diagonal(std)
        return GaussianMixture(self.logits, self.means, family)

    def forward(
        self,
        inputs: Tensor,  # [B, *shape]
    ) -> Tensor:  # [B]
        """Log-density in nats of the values of each object, of which the largest is one."""
        return self.mixture.log_prob(self._values(inputs))

    def _values(self, inputs: Tensor) -> Tensor:  # [B, *shape] -> [B, D]
        if inputs.shape[1:] != self.shape:
            raise InputError(f"GMM: the input is {list(inputs.shape)}; this network takes [B, *{list(self.shape)}]")
        return inputs.flatten(1).to(self.means.dtype) / self.largest

    @torch.no_grad()
    def start_(self, inputs: Tensor, seed: int, labels: Tensor | None = None) -> None:
        """One iteration of EM from the clusters of k-means."""
        self.fit_(inputs, 1, seed, lambda *_: None)
        self.logits.clamp_(min=RARE)

    @torch.no_grad()
    def fit_(
        self, inputs: Tensor, iterations: int, seed: int, progress: Callable[[int, float], object]
    ) -> dict[str, Any]:
        """So many iterations of EM from the clusters of k-means. The loss of each is that before its step."""
        estimator = MixtureEstimator(len(self.means), seed=seed, iterations=iterations, tolerance=0, **self.options)

        def told(iteration: int, log_likelihood: Tensor) -> None:
            self._take(estimator.mixture)
            progress(iteration, -float(log_likelihood))

        report = estimator.fit(self._values(inputs), progress=told).report
        return {"components": {name: int(getattr(report, name)) for name in ("empty", "dying", "identical", "floored")}}

    def _take(self, mixture: GaussianMixture) -> None:
        """The parameters of a mixture of this network's family."""
        covariance: Any = mixture.covariance
        self.logits.copy_(mixture.logits)
        self.means.copy_(mixture.means)
        if self.covariance == "full":
            self.triangle.copy_(covariance.factor.flatten(1)[:, self.places])
        else:
            self.std.copy_(covariance.std[:, : self.std.shape[1]])
        if self.covariance == "low-rank":
            self.factor.copy_(covariance.factor)

    @torch.no_grad()
    def after_step_(self, rate: float, kernel_decay: float) -> None:
        """Keep variances at the floor or above; of full covariances, those of a value given the ones before it."""
        if self.covariance == "full":
            self.triangle[:, self.diagonal] = self.triangle[:, self.diagonal].clamp(min=self.least)
        else:
            self.std.clamp_(min=self.least)

    @torch.no_grad()
    def sample(
        self, n: int, generator: torch.Generator, *, components: Tensor | None = None, **how: Any
    ) -> Tensor:  # [n, *shape]
        no_options(self, how)
        mixture = self.mixture
        if components is None:
            return self._objects(mixture.sample(n, generator))
        # A mixture of one component for each draw.
        covariance = mapped(mixture.covariance, lambda tensor: tensor[components, None])
        chosen = GaussianMixture(mixture.logits.new_zeros(n, 1), mixture.means[components, None], covariance)
        return self._objects(chosen.sample(1, generator)[:, 0])

    @torch.no_grad()
    def fill(self, inputs: Tensor, keep: Tensor, generator: torch.Generator, **how: Any) -> Tensor:  # [B, *shape]
        """Drawn from the density of the other values where those of ``keep`` [*shape] have these values."""
        no_options(self, how)
        values, known = self._values(inputs).clone(), keep.flatten()
        if not known.any():
            return self.sample(len(values), generator)
        if not known.all():
            given = self.mixture.conditional(known.nonzero()[:, 0].tolist(), values[:, known])
            values[:, ~known] = given.sample(1, generator)[:, 0]
        return torch.where(keep, inputs.to(values), self._objects(values))

    def responsibilities(self, inputs: Tensor) -> Tensor:  # [B, *shape] -> [B, N]
        return self.mixture.responsibilities(self._values(inputs))

    def layers(self, inputs: Tensor) -> list[dict[str, Any]]:  # [B, *shape]
        scores = self.mixture.component_log_prob(self._values(inputs))[:, None, None]  # [B, 1, 1, N]
        return [{"name": "mixture", "log_likelihood": scores.logsumexp(-1), "bound": scores.amax(-1)}]

    def _objects(self, values: Tensor) -> Tensor:  # [B, D] -> [B, *shape]
        return (values * self.largest).unflatten(1, self.shape)

    @torch.no_grad()
    def centres(self) -> Tensor:  # [N, *shape]
        order = self.logits.argsort(descending=True, stable=True)
        return self._objects(self.means[order])

    @torch.no_grad()
    def dead(self) -> int:
        """Components of less than a hundredth of the mean weight."""
        return int((self.mixture.weights < DEAD / len(self.means)).sum())
