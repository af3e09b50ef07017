"""Mixtures that are fitted anew in every epoch, to other points of the same clouds."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gmcn.data.objects import POINTS, TRAIN, Inputs, ObjectSet, of_classes, read_split
from gmcn.data.views import Views, view
from gmcn.errors import InputError
from gmcn.fitting import fit_points
from gmcn.fitting.settings import METHODS
from gmcn.mixture import Mixture


class FreshFits:
    """Fits of views of clouds (``training.views``), by the settings of an artifact and with a start of their own.

    ``clouds`` are the points [S, M, 3], on the CPU, of the S objects of ``data``. Raises :class:`InputError` where
    there are none, or the mixtures are not fitted to points.
    """

    def __init__(
        self,
        data: ObjectSet,  # mixtures of S objects
        points: str | os.PathLike | None,
        views: Views | None,  # None: all points
        *,
        split: int = TRAIN,
        classes: Sequence[int | str] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        fit = data.metadata.get("settings", {})
        if points is None:
            raise InputError("mixtures are fitted anew to points: name the points of these with --points")
        if fit.get("method", "kmeans") not in METHODS:
            raise InputError(
                f"the method {fit['method']} does not fit mixtures anew, as training.views and votes do; leave them "
                f"out, or set a fit of the method {', '.join(METHODS)}"
            )
        source = of_classes(read_split(points, split), classes)
        if source.kind != POINTS:
            raise InputError(f"only mixtures of points are fitted anew, and {points} holds {source.kind}")
        if source.names != data.names:
            raise InputError(f"the mixtures are not those of {points}: their objects differ; fit them again")
        self.clouds, self.device = source.inputs, device
        self.views = views or Views(points=source.inputs.shape[1])
        self.options = {key: value for key, value in fit.items() if key not in ("components", "seed")}
        self.components = fit["components"]

    def fit(self, clouds: Tensor, generator: torch.Generator) -> Mixture:  # [B, M, 3] -> [B, N]
        """Mixtures of other points of some of the clouds, by random numbers of ``generator`` alone, one of the CPU."""
        seen = view(clouds, self.views, generator)
        seed = int(torch.randint(1 << 31, (), generator=generator, device="cpu"))
        return fit_points(seen, self.components, seed=seed, **self.options).map(lambda tensor: tensor.to(self.device))

    def then(self, prepare: Callable[[Inputs, torch.Generator], Inputs]) -> Callable[[Inputs, torch.Generator], Inputs]:
        """A function that fits clouds, and prepares the mixtures."""
        return lambda clouds, generator: prepare(self.fit(clouds, generator), generator)
