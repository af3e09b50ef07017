"""Fitting mixtures to point clouds, beside scikit-learn.

The task: each cloud its own mixture in 3D. EM and Lloyd's algorithm begin at the same start as scikit-learn's
GaussianMixture and KMeans and take as many iterations; whole fits are those of `gmcn.fitting.fit_points`. Clouds are
those of a points artifact (--points), or made from built-in meshes. All in float64, from float32 points.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import arguments, progress, report
from measuring import peak_of, seconds_of
from torch import Tensor

from gmcn import Mixture
from gmcn.fitting import METHODS, fit_points, kmeans, reference
from gmcn.fitting.em import em, moments
from gmcn.fitting.points import unit_frame
from gmcn.fitting.quality import log_likelihood

FLOOR = 1e-4


def main() -> None:
    options = arguments(
        __doc__,
        ("--points", {"type": Path, "help": "a points artifact (default: built-in meshes)"}),
        ("--clouds", {"type": int, "default": 256, "help": "how many of its clouds"}),
        ("--components", {"type": int, "default": 128, "help": "Gaussians per cloud"}),
        ("--iterations", {"type": int, "default": 20, "help": "of EM and of Lloyd's algorithm"}),
    )
    if options.smoke:
        options.clouds, options.components, options.iterations = 3, 5, 2
    clouds = clouds_of(options)
    n = options.components
    x, mass, start = common_start(clouds, n, options.device)
    rows = [*compare_em(x, mass, start, options), *compare_lloyd(x, mass, n, options)]
    for method in METHODS:
        size = 125 if method == "eckart" and not options.smoke else n
        rows.append(whole_fit(clouds, method, size, options))
    report("fit", __doc__, rows, options)


def clouds_of(options: Any) -> Tensor:  # [S, M, 3]
    """The clouds, in an order that is not that of their classes."""
    if options.points is not None:
        from gmcn.artifacts import load_tensors

        points = load_tensors(options.points)[0]["points"]
    else:
        from gmcn.data.solids import make_solids

        settings = {"train_per_class": max(1, options.clouds // 10 + 1), "test_per_class": 0, "points": 1024}
        points = torch.from_numpy(make_solids(settings, []).read())
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))
    return points[order[: options.clouds]].to(options.device)


def common_start(clouds: Tensor, n: int, device: str) -> tuple[Tensor, Tensor, Mixture]:
    """Points in their unit frame, masses, and the moments of the cells of k-means++."""
    points, mass = clouds.double(), torch.ones(clouds.shape[:2], dtype=torch.float64, device=device)
    centre, side = unit_frame(points, mass)
    x, mass = (points - centre) / side, mass / points.shape[1]
    uniform = torch.rand(len(x), n, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(device)
    chosen = kmeans.kmeans_plus_plus(x, mass, uniform)
    seeds = x.gather(1, chosen[..., None].expand(-1, -1, 3))
    return x, mass, moments(x, mass, kmeans.lloyd(x, mass, seeds, 0)[1], seeds, FLOOR)


def compare_em(x: Tensor, mass: Tensor, start: Mixture, options: Any) -> list[dict[str, Any]]:
    steps, few = options.iterations, slice(0, 3 if options.smoke else 8)

    def fit_all() -> Mixture:
        return em(x, mass, start, FLOOR, steps)[0]

    def fit_few() -> Mixture:
        part = start.map(lambda tensor: tensor[few])
        return reference.em(x[few], mass[few], part, FLOOR, steps)[0]

    task, count = f"EM, {steps} iterations", len(x[few])
    progress(task)
    theirs, seconds = scikit_learn_em(x[few].cpu(), start.map(lambda tensor: tensor[few].cpu()), steps)
    rows = [row(task, "scikit-learn, GaussianMixture", seconds, count, log_likelihood(theirs, x[few].cpu(), mass[few]))]
    rows.append(
        timed(task, "torch, batched", fit_few, count, lambda fit: log_likelihood(fit, x[few], mass[few]), options)
    )
    rows.append(timed(task, "gmcn.fitting", fit_all, len(x), lambda fit: log_likelihood(fit, x, mass)[few], options))
    return relative(rows)


def scikit_learn_em(x: Tensor, start: Mixture, steps: int) -> tuple[Mixture, float]:
    """Its mixtures, and its seconds; the log-likelihood is that of the same few clouds everywhere."""
    from sklearn.mixture import GaussianMixture

    fitted, began = [], time.perf_counter()
    for s in range(len(x)):
        model = GaussianMixture(
            start.components,
            max_iter=steps,
            tol=0,
            reg_covar=FLOOR,
            weights_init=start.weights[s].numpy(),
            means_init=start.positions[s].numpy(),
            precisions_init=torch.linalg.inv(start.covariances[s]).numpy(),
            init_params="random_from_data",  # what it draws is overridden: the cheapest
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it does not converge
            fitted.append(model.fit(x[s].numpy()))
    seconds = time.perf_counter() - began
    columns = (("weights_", "means_", "covariances_")[i] for i in range(3))
    return Mixture(*(torch.stack([torch.from_numpy(getattr(m, name)) for m in fitted]) for name in columns)), seconds


def compare_lloyd(x: Tensor, mass: Tensor, n: int, options: Any) -> list[dict[str, Any]]:
    from sklearn.cluster import KMeans

    steps, few = options.iterations, slice(0, 3 if options.smoke else 8)
    seeds = x[:, :n].contiguous()
    task, count = f"Lloyd, {steps} iterations", len(x[few])
    progress(task)

    def inertia(centres: Tensor) -> Tensor:
        return -torch.cdist(x[few].cpu(), centres[few].cpu()).square().amin(-1).mean(-1)

    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = [
            KMeans(n, init=seeds[s].cpu().numpy(), n_init=1, max_iter=steps, tol=0, algorithm="lloyd").fit(x[s].cpu())
            for s in range(count)
        ]
    seconds = time.perf_counter() - began
    theirs = torch.stack([torch.from_numpy(model.cluster_centers_) for model in models])
    rows = [row(task, "scikit-learn, KMeans", seconds, count, inertia(theirs))]
    rows.append(
        timed(
            task,
            "torch, batched",
            lambda: reference.lloyd(x[few], mass[few], seeds[few], steps)[0],
            count,
            inertia,
            options,
        )
    )
    rows.append(timed(task, "gmcn.fitting", lambda: kmeans.lloyd(x, mass, seeds, steps)[0], len(x), inertia, options))
    return relative(rows)


def whole_fit(clouds: Tensor, method: str, n: int, options: Any) -> dict[str, Any]:
    progress(f"fit_points, {method}")
    mass = torch.ones(clouds.shape[:2], device=clouds.device)
    return timed(
        f"fit_points, {n} Gaussians",
        f"gmcn.fitting, {method}",
        lambda: fit_points(clouds, n, method, covariance_floor=FLOOR),
        len(clouds),
        lambda fit: log_likelihood(fit, clouds, mass),
        options,
    )


def timed(
    task: str, way: str, function: Callable[[], Any], count: int, score: Callable[[Any], Tensor], options: Any
) -> dict[str, Any]:
    return row(task, way, seconds_of(function, options), count, score(function()), peak_of(function, options))


def row(task: str, way: str, seconds: float, count: int, score: Tensor, peak: float | None = None) -> dict[str, Any]:
    """One row: the score is the mean log-likelihood per point, or for Lloyd minus the mean squared distance."""
    columns = {"task": task, "way": way, "clouds": count, "ms per cloud": 1e3 * seconds / count}
    return columns | {"log-likelihood or -inertia": float(score.mean()), "peak, MiB": peak}


def relative(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Against the first row: how many times as fast, and the relative difference of the scores."""
    first = rows[0]
    for other in rows:
        other["times scikit-learn"] = first["ms per cloud"] / other["ms per cloud"]
        score = "log-likelihood or -inertia"
        other["difference"] = abs(other[score] / first[score] - 1)
    return rows


if __name__ == "__main__":
    main()
