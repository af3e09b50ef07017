"""The stage `fit`: a points artifact becomes a mixtures artifact."""

from __future__ import annotations

import math
import os
import time
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from gmcn.artifacts import load_tensors, provenance, save_tensors
from gmcn.errors import InputError
from gmcn.fitting import em
from gmcn.fitting.images import fit_images, pixels
from gmcn.fitting.points import fit_points, map_chunks, unit_frame
from gmcn.mixture import Mixture

_OPTIONS = ("method", "init", "iterations", "em_steps", "covariance_floor", "seed")
# Numbers in the largest tensor when the fit is judged (points x components x shapes).
_CHUNK = 1 << 20


def fit(
    points: str | os.PathLike,
    *,
    settings: dict[str, Any],
    output: str | os.PathLike,
    dataset: str,
    name: str,
    run=None,
) -> None:
    """Fit every shape or image of the artifact ``points`` and write the mixtures artifact ``output``.

    ``settings`` are ``components`` and the options of :func:`gmcn.fitting.fit_points`; ``name`` is the fit's name
    in the configuration. The metadata's ``quality`` holds the mean log-likelihood per point (in the points' units,
    training and test apart), the share of components without mass, the share whose thinnest direction is mostly
    the floor, and the seconds it took.
    """
    tensors, source = load_tensors(points)
    options = {key: settings[key] for key in _OPTIONS if key in settings}
    unknown = sorted(settings.keys() - {*_OPTIONS, "components"})
    if unknown or "components" not in settings:
        known = ", ".join(("components", *_OPTIONS))
        raise InputError(f"fit '{name}' needs 'components' and knows only {known}; it has {sorted(settings)}")

    shapes = tensors["labels"].shape[0]
    started = time.perf_counter()
    with _progress() as bar:
        task = bar.add_task(f"fit {dataset} {name}", total=shapes)
        options["progress"] = lambda count: bar.advance(task, count)
        try:
            if "images" in tensors:
                mixture = fit_images(tensors["images"], settings["components"], **options)
                locations, mass = pixels(tensors["images"])
            else:
                locations = tensors["points"]
                mass = locations.new_ones(locations.shape[:2])
                mixture = fit_points(locations, settings["components"], **options)
        except InputError as error:
            raise InputError(f"{points}: {error}") from error
    seconds = time.perf_counter() - started

    quality = judge(mixture, locations, mass, tensors["split"], options.get("covariance_floor", 1e-4))
    quality["seconds"] = round(seconds, 3)
    if run is not None:
        run.log_metrics({f"fit/{key}": value for key, value in quality.items()})
    save_tensors(
        output,
        {
            "weights": mixture.weights,
            "positions": mixture.positions,
            "covariances": mixture.covariances,
            "labels": tensors["labels"],
            "split": tensors["split"],
        },
        {
            "dataset": dataset,
            "fit": name,
            "dim": mixture.dim,
            "class_names": source["class_names"],
            "names": source["names"],
            "settings": settings,
            "quality": quality,
            "provenance": provenance(),
            "run_id": run.id if run is not None else None,
            "points_run_id": source.get("run_id"),
        },
    )


def judge(
    mixture: Mixture,  # [S, N]
    points: Tensor,  # [S, M, D]
    mass: Tensor,  # [S, M]
    split: Tensor,  # [S]
    floor: float,
) -> dict[str, float]:
    """Numbers that say how good the mixtures are; see :func:`fit`."""
    size = max(1, _CHUNK // (points.shape[1] * mixture.components))

    def judge_chunk(start: int) -> tuple[Tensor, Tensor]:
        rows = slice(start, start + size)
        centre, side = (t.double() for t in unit_frame(points[rows], mass[rows]))
        part = mixture.map(lambda t: t[rows].double())
        covariances = part.covariances / side.square()[..., None]
        part = Mixture(part.weights, (part.positions - centre) / side, covariances)
        phi = em.monomials((points[rows].double() - centre) / side)
        logs = em.log_densities(phi, part)
        top = logs.amax(-1, keepdim=True)
        # Relative to the largest, float32 is exact enough, and its exponential three times as fast.
        density = top[..., 0] + (logs - top).float().exp().sum(-1).log() - mixture.dim * side[..., 0].log()
        share = mass[rows].double()
        thin = torch.linalg.eigvalsh(covariances)[..., 0] < 2 * floor
        return (density * share).sum(-1) / share.sum(-1), thin

    chunks = zip(*map_chunks(judge_chunk, range(0, points.shape[0], size), points.device), strict=True)
    likelihood, thin = (torch.cat(parts) for parts in chunks)
    empty = mixture.weights <= 0
    quality = {
        "empty_share": empty.double().mean().item(),
        "floored_share": (thin & ~empty).double().mean().item(),
    }
    for value, part in ((0, "train"), (1, "test")):
        if (split == value).any():
            quality[f"log_likelihood_{part}"] = likelihood[split == value].mean().item()
    if not all(math.isfinite(value) for value in quality.values()):
        raise InputError(f"the fit is not finite ({quality}); raise covariance_floor")
    return quality


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))
