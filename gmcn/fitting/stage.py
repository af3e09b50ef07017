"""The stage `fit`: a points artifact becomes a mixtures artifact."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gmcn.artifacts import open_tensors, provenance, save_tensors, sha256_of_tensors, write_json
from gmcn.data.preparation import data_of
from gmcn.declared import check
from gmcn.errors import InputError, brief, unknown
from gmcn.fitting import quality
from gmcn.fitting.images import fit_images, pixels, square
from gmcn.fitting.points import fit_points, spread, unit_frame
from gmcn.fitting.settings import FLOOR, NETWORK, REDUCTION, FitSettings
from gmcn.mixture import Mixture
from gmcn.ops import reduce_treehem
from gmcn.progress import Progress
from gmcn.tracking import NO_RUN, Run

log = logging.getLogger(__name__)

# Points of a shard; one shard is read and held at a time.
_SHARD = 1 << 22


def fit(
    points: str | os.PathLike,
    *,
    settings: dict[str, Any],
    output: str | os.PathLike,
    dataset: str,
    name: str,
    by_network: Callable[..., Mixture] | None = None,
    run: Run = NO_RUN,
) -> None:
    """Fit every shape or image of the artifact ``points`` and write the mixtures artifact ``output``.

    ``settings`` are ``components`` and the options of :func:`gmcn.fitting.fit_points`; ``name`` is the fit's name
    in the configuration. A data set of ready mixtures is reduced by ``method: treehem``. For ``method: pointgmm``,
    ``by_network`` does it (:func:`gmcn.fitting.gmm.by_network.fit_by_network` with a network). Shapes are read shard
    by shard. The artifact's ``log_likelihood`` [S] is the mean per point, in the points' units, of every shape; its
    metadata's ``quality`` (also written beside it as JSON) holds the means over training and test, the shares of
    components without mass (``empty_share``), whose thinnest direction is mostly the floor (``floored_share``) and
    all of whose directions are (``degenerate_share``), and the seconds it took.
    """
    check(FitSettings, settings, f"fit '{name}'")
    options = {key: value for key, value in settings.items() if key != "components"}
    with open_tensors(points) as (tensors, source), Progress() as bar:
        shapes = tensors["split"].get_shape()[0]
        task = bar.add_task(f"fit {dataset} {name}", total=shapes)
        work = _work(
            tensors, source, settings["components"], options, by_network, lambda count: bar.advance(task, count)
        )
        try:
            parts = list(work)
        except InputError as error:
            raise InputError(f"{points}: {error}") from error
        kept = {key: tensors[key][:] for key in ("labels", "split") if key in tensors}
        data = data_of(tensors, source)
    mixture = Mixture(*(torch.cat(column) for column in zip(*(part for part, *_ in parts), strict=True)))
    likelihood, *shares = (torch.cat(column) for column in zip(*(judged for _, judged, _ in parts), strict=True))
    found = quality.summarise(likelihood, *shares, kept["split"])
    found["seconds"] = round(sum(seconds for *_, seconds in parts), 3)
    run.log_metrics({f"fit/{key}": value for key, value in found.items()})
    save_tensors(
        output,
        {**mixture._asdict(), **kept, "log_likelihood": likelihood.float()},
        {
            "dataset": dataset,
            "fit": name,
            "dim": mixture.dim,
            **({"class_names": source["class_names"]} if "class_names" in source else {}),
            "names": source["names"],
            "settings": settings,
            "quality": found,
            "provenance": provenance(),
            "run_id": run.id,
            "points_run_id": source.get("run_id"),
            "points_sha256": sha256_of_tensors(points),
            "data": data,
        },
    )
    write_json(Path(output).with_suffix(".json"), {"dataset": dataset, "fit": name, "settings": settings, **found})
    likelihoods = [f"{value:.3f} ({key.rpartition('_')[2]})" for key, value in found.items() if "likelihood" in key]
    text = "%s %s: %d mixtures of %d Gaussians in %.1f s, log-likelihood per point %s"
    log.info(text, dataset, name, shapes, mixture.components, found["seconds"], ", ".join(likelihoods))


def _work(
    tensors: dict[str, Any],
    source: dict[str, Any],
    n: int,
    options: dict[str, Any],
    by_network: Callable[..., Mixture] | None,
    done: Callable[[int], None],
) -> Iterator[tuple[Mixture, tuple[Tensor, ...], float]]:
    """For every shard: its mixtures, likelihood and shares per shape, and the seconds of the fit alone."""
    ready = "weights" in tensors
    if ready != (options.get("method") == REDUCTION):
        which = "ready mixtures: reduce them by" if ready else "points or images: there is nothing to reduce by"
        raise InputError(f"the data set has {which} `method: {REDUCTION}`")
    for option in options if ready else ():
        if option not in (known := ("method", "covariance_floor", "seed")):
            raise unknown(f"option of the fit '{REDUCTION}'", option, known)
    key = "weights" if ready else "images" if "images" in tensors else "points"
    if key not in tensors:
        raise InputError("the data set holds vectors, to which no mixture is fitted; train on them with `fit: null`")
    if (options.get("method") == NETWORK) != (by_network is not None):
        what = f"is for `method: {NETWORK}` alone" if by_network else f"is what `method: {NETWORK}` needs (--model)"
        raise InputError(f"a network {what}")
    if by_network is not None and key != "points":
        raise InputError(f"`method: {NETWORK}` takes points, and the data set holds {key}")
    shapes, *sizes = tensors[key].get_shape()
    size = max(1, _SHARD // max(1, sizes[0] * (sizes[1] if key == "images" else 1)))
    names, floor = source["names"], options.get("covariance_floor", FLOOR)
    options = options | {"progress": done}
    for start in range(0, shapes, size):
        rows = slice(start, start + size)
        part = tensors[key][rows]
        started = time.perf_counter()
        if ready:
            whole = Mixture(part, tensors["positions"][rows], tensors["covariances"][rows])
            mixture = reduce_mixtures(whole, n, names[rows], done)
            x, mass = whole.positions, whole.weights
        elif key == "images":
            mixture = fit_images(part, n, names=names[rows], **options)
            x, mass = pixels(part)
        elif by_network is not None:
            mixture = by_network(part, n, **options)
            x, mass = part, part.new_ones(part.shape[:2])
        else:
            mixture = fit_points(part, n, names=names[rows], **options)
            x, mass = part, part.new_ones(part.shape[:2])
        seconds = time.perf_counter() - started
        side = unit_frame(x, mass)[1].flatten()  # the floor is relative to it
        shares = quality.components_without_extent(mixture, side, floor)
        likelihood = quality.log_likelihood(mixture, *(spread(x, mass, square()) if key == "images" else (x, mass)))
        yield mixture, (likelihood, *(share.double().mean(-1) for share in shares)), seconds


def reduce_mixtures(
    mixture: Mixture, n: int, names: list[str], done: Callable[[int], None] = lambda count: None
) -> Mixture:  # [S, N] -> [S, n]
    """Each mixture to ``n`` components; the weights of many small ones are kept from being taken for none."""
    total = mixture.weights.sum(-1, keepdim=True)
    count = mixture.components
    try:
        reduced = reduce_treehem(mixture._replace(weights=mixture.weights * (count / total)), n)
    except RuntimeError as error:
        raise InputError(
            f"a mixture between '{brief(names[0])}' and '{brief(names[-1])}' cannot be reduced ({error})"
        ) from error
    done(len(total))
    return reduced._replace(weights=reduced.weights * (total / count))
