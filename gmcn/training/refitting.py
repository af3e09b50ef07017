"""Mixtures that are fitted anew in every epoch, to other points of the same clouds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from gmcn.data.objects import POINTS, TRAIN, Inputs, ObjectSet, read_split
from gmcn.data.preparation import check_points
from gmcn.data.views import Views, view
from gmcn.errors import InputError
from gmcn.fitting import fit_points
from gmcn.fitting.settings import METHODS
from gmcn.mixture import Mixture
from gmcn.training.datamodule import generator_of
from gmcn.training.settings import TrainingSettings

Prepare = Callable[[Inputs, torch.Generator], Inputs]


class Refit:
    """Fits of views of clouds (``training.views``), by the settings of a fit and with a start of their own.

    Of several processes that train together, each fits the whole of a batch, so that all have the same mixtures.
    Raises :class:`InputError` for a method that fits nothing anew.
    """

    def __init__(
        self,
        fit: Mapping[str, Any],  # the settings of the mixtures
        components: int,
        views: Views | None,  # None: the whole clouds
        device: torch.device | str = "cpu",
    ) -> None:
        if fit.get("method", "kmeans") not in METHODS:
            raise InputError(
                f"the method {fit['method']} does not fit mixtures anew, as training.views and votes do; leave them "
                f"out, or set a fit of the method {', '.join(METHODS)}"
            )
        self.options = {key: value for key, value in fit.items() if key not in ("components", "seed")}
        self.components, self.views, self.device = components, views, device

    @property
    def draws(self) -> bool:
        """Whether a fit depends on its random numbers."""
        preset = METHODS[self.options.get("method", "kmeans")]
        return (self.options.get("init") or preset.get("init")) in ("kmeans++", "random")

    def fit(self, clouds: Tensor, generator: torch.Generator) -> Mixture:  # [B, M, 3] -> [B, N]
        """Mixtures of views of some of the clouds, by random numbers of ``generator`` alone, one of the CPU."""
        seen = clouds if self.views is None else view(clouds, self.views, generator)
        seed = int(torch.randint(1 << 31, (), generator=generator, device="cpu"))
        return fit_points(seen, self.components, seed=seed, **self.options).map(lambda tensor: tensor.to(self.device))

    def then(self, prepare: Prepare) -> Prepare:
        """A function that fits clouds, and prepares the mixtures."""
        return lambda clouds, generator: prepare(self.fit(clouds, generator), generator)


class FreshFits(Refit):
    """Fits anew to ``clouds``, the points [S, M, 3], on the CPU, of the S objects of ``data``.

    Raises :class:`InputError` where there are none, the mixtures are not fitted to points, or a cloud has no view.
    """

    def __init__(
        self,
        data: ObjectSet,  # mixtures of S objects
        points: str | os.PathLike | None,
        views: Views | None,  # None: the whole clouds
        *,
        split: int = TRAIN,
        device: torch.device | str = "cpu",
    ) -> None:
        assert isinstance(data.inputs, Mixture)
        if points is None:
            raise InputError("mixtures are fitted anew to points: name the points of these with --points")
        super().__init__(data.metadata.get("settings", {}), data.inputs.components, views, device)
        source = read_split(points, split)
        if source.kind != POINTS:
            raise InputError(f"only mixtures of points are fitted anew, and {points} holds {source.kind}")
        if source.names != data.names:
            raise InputError(f"the mixtures are not those of {points}: their objects differ; fit them again")
        check_points("the mixtures", data.metadata, points)
        assert isinstance(source.inputs, Tensor)
        self.clouds = source.inputs
        equal = (self.clouds == self.clouds[:, :1]).flatten(1).all(1)
        if views is not None and equal.any():
            name = data.names[int(equal.nonzero()[0])]
            raise InputError(f"{points}: all points of '{name}' are in one place; there is no view of it: leave it out")


def votes_of(
    prepare: Prepare,
    sources: Inputs,  # [S, ...]
    training: TrainingSettings,
    votes: int,
    refit: Refit | None = None,
) -> Iterator[Inputs]:  # [S, ...] each
    """Variations of all objects, as many as ``votes``, each as the training prepares them, or fits them with ``refit``.

    Raises :class:`InputError` where nothing would vary.
    """
    if refit is None:
        varied = training.views is not None
    else:
        varied = refit.views is not None or refit.draws
        prepare = refit.then(prepare)
    if not varied and training.augmentation is None:
        raise InputError(
            "nothing in the training of this network varies an object, so that all votes are one; leave them out"
        )
    for vote in range(votes):
        yield prepare(sources, generator_of(0, vote, 0))
