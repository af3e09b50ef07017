"""One fit on its way: its mixture, and the steps of EM, stepwise EM, SGD and k-means."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gmcn.errors import InputError
from gmcn.fitting.gmm.descent import Descent
from gmcn.fitting.gmm.expectation import centre_of, expectation
from gmcn.fitting.gmm.families import DiagonalFamily, Family, FullFamily, Sums, fields_of, like, mapped, replaced
from gmcn.fitting.gmm.low_rank import AnyRankFamily, LowRankFamily
from gmcn.fitting.gmm.points import present
from gmcn.fitting.gmm.report import FitReport, counts, variances_of
from gmcn.fitting.gmm.settings import EstimatorSettings
from gmcn.fitting.gmm.starts import begin
from gmcn.mixture import GaussianMixture

# A variance below this share of the squares that it is the difference of: float32 leaves it no two digits.
THIN = 1e-4


class Fit:
    """One fit: where it stands, in float64 and in coordinates about the points' mean."""

    def __init__(
        self, settings: EstimatorSettings, start: str | GaussianMixture, x: Tensor, mass: Tensor | None
    ) -> None:
        self.settings, self.dtype = settings, x.dtype
        self.family: Family = family_of(settings, x.shape[-1])
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.centre = centre_of(x, mass)
        self.points = present(x, mass)
        self.mixture = begin(start, self.family, x, mass, self.centre, settings.n, self.generator)
        self.taken = torch.zeros_like(self.points)
        self.converged = torch.zeros_like(self.points, dtype=torch.bool)
        self.likelihoods: list[Tensor] = []
        self.steps, self.sums = 0, Sums()  # of stepwise EM
        self.descent: Descent | None = None

    def iterate(self, x: Tensor, mass: Tensor | None) -> Tensor:  # [...]
        """A pass over all points, for those problems that have not converged; the log-likelihood that it found."""
        settings, before, ended = self.settings, self.mixture, self.converged
        size = settings.batch(x.shape[-2])
        value = self._whole(x, mass) if size is None else self._batches(x, mass, size)
        if ended.any():
            self.mixture = mapped(lambda old, new: torch.where(like(ended, new), old, new), before, self.mixture)
            value = torch.where(ended, self.likelihoods[-1], value)
        self.taken = self.taken + ~ended
        if settings.tolerance and self.likelihoods:
            unit = value.abs() if settings.method == "kmeans" else 1.0
            # Or equal: clusters that leave no distance have a unit of 0.
            self.converged = ended | ((value - self.likelihoods[-1]).abs() <= settings.tolerance * unit)
        self.likelihoods.append(value)
        return value

    def stream(self, x: Tensor, mass: Tensor | None) -> None:
        """Take a batch of a stream."""
        if self.settings.method == "sgd":
            value = self._batches(x, mass, self.settings.batch(x.shape[-2]), stream=True)
        else:
            value = self._stepwise(x, mass)
        self.likelihoods.append(value)
        self.taken = self.taken + 1
        self.converged = torch.zeros_like(self.converged)  # nobody knows what comes

    def finish(self, x: Tensor, mass: Tensor | None) -> None:
        """Of k-means, the moments of the clusters."""
        if self.settings.method == "kmeans":
            self._step(x, mass, lambda sums: sums, nearest=True)

    def result(self) -> GaussianMixture:
        """The mixture in the points' coordinates and dtype."""
        return replaced(self.mixture, means=self.mixture.means + self.centre).to(self.dtype)

    def report(self) -> FitReport:
        found = counts(self.mixture, self.points, self.settings.floor)
        return FitReport(self.taken, self.converged, list(self.likelihoods), **found)

    def check_alike(self, x: Tensor) -> None:
        shape = (*self.centre.shape[:-2], self.centre.shape[-1])
        if (*x.shape[:-2], x.shape[-1]) != shape or x.dtype != self.dtype or x.device != self.centre.device:
            raise InputError(
                f"fit_gmm: a batch of {x.dtype} {list(x.shape)} on {x.device} does not continue a stream of "
                f"{self.dtype} {[*shape[:-1], 'points', shape[-1]]} on {self.centre.device}"
            )

    def _whole(self, x: Tensor, mass: Tensor | None) -> Tensor:
        """An iteration of EM over all points, or one of Lloyd's."""
        if self.settings.method == "em":
            return self._stepwise(x, mass, 1.0)
        sums, value = expectation(self.family, self.mixture, x, mass, self.centre, nearest=True)
        self._take(self.family.maximise(sums, self.mixture))
        return value

    def _batches(self, x: Tensor, mass: Tensor | None, size: int, stream: bool = False) -> Tensor:
        """Steps on batches of ``size`` points in random order."""
        count, done = x.shape[-2], len(self.likelihoods)
        order = torch.randperm(count, generator=self.generator, device="cpu").to(x.device)
        found, total = 0.0, 0.0
        if self.settings.method == "em" and not self.sums:
            # Of all points: a component that a batch does not reach keeps some of these.
            self._stepwise(x, mass)
        for place, rows in enumerate(order.split(size)):
            part, share = x[..., rows, :], None if mass is None else mass[..., rows]
            own = len(rows) if share is None else share.sum(-1, dtype=torch.float64)
            if self.settings.method == "sgd":
                # A cosine from the rate to 0; constant in a stream, whose end nobody knows.
                angle = 0.0 if stream else math.pi * (done + place * size / count) / self.settings.iterations
                value = self._descend(part, share, (1 + math.cos(angle)) / 2)
            else:
                value = self._stepwise(part, share)
            if share is not None:  # a batch without mass says nothing
                value = torch.where(own > 0, value, 0.0)
            found, total = found + own * value, total + own
        if self.descent is not None:
            self._take(self.descent.mixture())
        return found / total

    def _stepwise(self, x: Tensor, mass: Tensor | None, rate: float | None = None) -> Tensor:
        """A step of stepwise EM (Cappé & Moulines, 2009): the batch's sums enter a running average.

        Of all points they replace it, at the ``rate`` 1; a stream that follows goes on from there.
        """
        self.steps += 1
        rate = rate or self.steps**-self.settings.step_decay
        self.sums, value = self._step(x, mass, lambda sums: _averaged(self.sums, sums, rate))
        return value

    def _step(
        self, x: Tensor, mass: Tensor | None, average: Callable[[Sums], Sums], nearest: bool = False
    ) -> tuple[Sums, Tensor]:
        """The next mixture, of averaged sums; these and the value. In float64 where variances would be lost."""
        for exact in (self._thin(self.mixture), True):
            sums, value = expectation(self.family, self.mixture, x, mass, self.centre, nearest=nearest, exact=exact)
            averaged = average(sums)
            found = self.family.maximise(averaged, self.mixture)
            if exact or not self._thin(found):
                break
        self._take(found)
        return averaged, value

    def _descend(self, x: Tensor, mass: Tensor | None, share: float) -> Tensor:
        if self.descent is None:
            spread = variances_of(self.mixture.covariance).mean(-1) + self.mixture.means.square().mean(-1)
            scale = (self.mixture.weights * spread).sum(-1).sqrt()
            self.descent = Descent(self.family, self.mixture, scale, self.settings.learning_rate, self.dtype)
        return self.descent.step(x - self.centre.to(x.dtype), mass, share)

    def _thin(self, mixture: GaussianMixture) -> bool:
        """Whether sums of squares in the points' dtype would lose the variances of a component, or have lost them."""
        if self.dtype == torch.float64 or mixture.dim <= self.family.exact:
            return False
        std: Tensor = getattr(mixture.covariance, "std")  # noqa: B009  # other families are exact
        squares = mixture.means.square() + variances_of(mixture.covariance)
        return bool(((std.square() < THIN * squares) & mixture.logits.isfinite()[..., None]).any())

    def _take(self, mixture: GaussianMixture) -> None:
        """The next mixture; the one before stays where a number of it is not finite, an :class:`InputError`."""
        parts = [getattr(mixture.covariance, name).flatten(mixture.logits.ndim) for name in fields_of(mixture)]
        good = torch.cat([mixture.means, *parts], -1).isfinite().all(-1) & ~(mixture.logits.isnan())
        if not good.all():
            *problem, component = (~good).nonzero()[0].tolist()
            of = f" of problem {problem}" if problem else ""
            rate = ", or lower the learning_rate" if self.settings.method == "sgd" else ""
            raise InputError(
                f"fit_gmm: component {component}{of} is not finite after iteration {len(self.likelihoods) + 1}: the "
                f"points are too large for their dtype; scale them, take float64, or raise the floor{rate}"
            )
        self.mixture = mixture


def _averaged(before: Sums, sums: Sums, rate: float) -> Sums:
    """A running average of sums per unit of mass; a batch without mass leaves it as it is."""
    total, found = sums["total"], Sums()
    for name, part in sums.items():
        found[name] = part / like(total, part)
        if rate < 1:
            found[name] = torch.where(
                like(total > 0, part), (1 - rate) * before[name] + rate * found[name], before[name]
            )
    return found


def family_of(settings: EstimatorSettings, dim: int) -> Family:
    """The family that the settings of a fit ask for."""
    floor, flooring = settings.floor, settings.flooring
    if settings.covariance == "full":
        return FullFamily(floor, flooring)
    if settings.covariance == "low-rank":
        rank = settings.rank or max(1, min(4, dim - 1))
        if rank > dim:
            raise InputError(f"fit_gmm: rank is {rank}, but must be at most the {dim} dimensions")
        return (AnyRankFamily if rank >= dim - 1 else LowRankFamily)(floor, flooring, rank)
    return DiagonalFamily(floor, flooring, spherical=settings.covariance == "spherical")
