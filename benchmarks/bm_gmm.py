"""Fitting one mixture in many dimensions, beside scikit-learn.

The task: iterations of EM from the same start. Points are those of a points artifact of images (--points), or made by
100 factor analysers with 10 factors; and a million points in 16 dimensions. Seconds are those of a fit of --iterations
iterations from a given mixture, everything included, by iteration. Difference: of the log-likelihood from the first
row of the task, relative. Share: multiply-adds of an iteration's matrix products by second, over those of a product of
two matrices of 4096 x 4096. Peak: resident memory during the fit beside the points; scikit-learn's includes its copy in
float64.
"""

from __future__ import annotations

import time
import warnings
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import arguments, progress, report, save
from measuring import peak_of, seconds_of
from torch import Tensor

from gmcn import GaussianMixture
from gmcn.fitting import MixtureEstimator

FLOOR = 0.01
SKLEARN = {"diagonal": "diag", "full": "full", "spherical": "spherical"}


def main() -> None:
    options = arguments(
        __doc__,
        ("--points", {"type": Path, "help": "a points artifact of images (default: points of our own)"}),
        ("--iterations", {"type": int, "default": 5, "help": "of EM"}),
    )
    images = images_of(options)
    many, few = (2000, 20_000) if options.smoke else (1_000_000, 100_000)
    narrow = made(many, 16, 100, 4).to(options.device)
    tasks = [
        ("diagonal", 25, None, images),
        ("low-rank", 100, 10, images),
        ("diagonal", 1000, None, narrow),
        ("full", 20, None, narrow[:few]),
        ("spherical", 20, None, narrow[:few]),
    ]
    fastest = products_per_second(options)
    rows: list[dict[str, Any]] = []
    for covariance, n, rank, x in tasks:
        rows += compare(x, min(n, 5) if options.smoke else n, covariance, rank, fastest, options)
        save("gmm", __doc__, rows, options)
    report("gmm", __doc__, rows, options)


def images_of(options: Namespace) -> Tensor:  # [M, D], between 0 and 1
    if options.points is None:
        return made(500 if options.smoke else 60_000, 64 if options.smoke else 784, 100, 10).to(options.device)
    from gmcn.artifacts import load_tensors

    images = load_tensors(options.points)[0]["images"][:60_000].flatten(1)
    return (images / 255 if images.dtype == torch.uint8 else images).float().to(options.device)


def made(points: int, dim: int, groups: int, factors: int) -> Tensor:  # [M, D]
    """Points of random factor analysers."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(groups, (points,), generator=generator)
    means = torch.randn(groups, dim, generator=generator)
    axes = torch.randn(groups, factors, dim, generator=generator) / factors**0.5
    x = torch.randn(points, dim, generator=generator).mul_(0.3).add_(means[labels])
    for group in range(groups):
        rows = (labels == group).nonzero().squeeze(1)
        x[rows] += torch.randn(len(rows), factors, generator=generator) @ axes[group]
    return x


def products_per_second(options: Namespace) -> float:
    size = 256 if options.smoke else 4096
    matrix = torch.randn(size, size, device=options.device)
    return size**3 / seconds_of(lambda: matrix @ matrix, options)


def compare(
    x: Tensor, n: int, covariance: str, rank: int | None, fastest: float, options: Namespace
) -> list[dict[str, Any]]:
    """Rows of one task, scikit-learn's first where it has the family and the memory."""
    task = f"{len(x):,} x {x.shape[1]}, {covariance}{f' {rank}' if rank else ''}, K = {n}"
    start = MixtureEstimator(n, covariance=covariance, rank=rank, floor=FLOOR, iterations=1).fit(x).mixture
    ways = {"gmcn.fitting.fit_gmm, float32": x, "gmcn.fitting.fit_gmm, float64": x.double()}
    rows = []
    if covariance in SKLEARN and len(x) * n < 2**28:  # else responsibilities alone are more than 2 GiB
        progress(f"{task}: scikit-learn")
        rows.append({"task": task, "way": "scikit-learn, float64", **of_sklearn(x, start, covariance, options)})
    for way, points in ways.items():
        progress(f"{task}: {way}")
        rows.append({"task": task, "way": way, **ours(points, start, covariance, rank, options)})
        rows[-1]["share"] = multiply_adds(x, n, covariance, rank) / rows[-1]["s per iteration"] / fastest
    for row in rows:
        row["difference"] = abs(row["log-likelihood"] / rows[0]["log-likelihood"] - 1)
        row["times the first"] = rows[0]["s per iteration"] / row["s per iteration"]
    return rows


def ours(x: Tensor, start: GaussianMixture, covariance: str, rank: int | None, options: Namespace) -> dict[str, Any]:
    def fit() -> MixtureEstimator:
        settings = {"covariance": covariance, "rank": rank, "floor": FLOOR, "flooring": "add", "tolerance": 0}
        return MixtureEstimator(start.components, start=start, iterations=options.iterations, **settings).fit(x)

    fitted, seconds, peak = timed(fit, options)
    return {
        "s per iteration": seconds / options.iterations,
        "log-likelihood": fitted.report.log_likelihood[-1].item(),
        "peak, MiB": peak,
    }


def of_sklearn(x: Tensor, start: GaussianMixture, covariance: str, options: Namespace) -> dict[str, Any]:
    from sklearn.mixture import GaussianMixture as Sklearn

    first = start.to_sklearn(SKLEARN[covariance])
    points = x.cpu().numpy().astype("float64")
    estimator = Sklearn(
        start.components,
        covariance_type=SKLEARN[covariance],
        max_iter=options.iterations,
        tol=0,
        reg_covar=FLOOR,
        weights_init=first.weights_,
        means_init=first.means_,
        precisions_init=first.precisions_,
        init_params="random_from_data",  # what it draws is overridden: the cheapest
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it does not converge
        _, seconds, peak = timed(lambda: estimator.fit(points), options)
    return {
        "s per iteration": seconds / options.iterations,
        "log-likelihood": float(estimator.lower_bound_),
        "peak, MiB": peak,
    }


def timed(fit: Callable[[], Any], options: Namespace) -> tuple[Any, float, float | None]:
    """A fit, its seconds after a first one, and the memory that it adds, in MiB."""
    peak = peak_of(fit, options)
    began = time.perf_counter()
    fitted = fit()
    return fitted, time.perf_counter() - began, peak


def multiply_adds(x: Tensor, n: int, covariance: str, rank: int | None) -> int:
    """Of the matrix products of an iteration: log-densities, and sums."""
    points, dim = x.shape
    features = 1 + dim + (dim * (dim + 1) // 2 if covariance == "full" else dim)
    return 2 * points * n * (features + (rank or 0) * (1 + dim + (rank or 0) // 2))


if __name__ == "__main__":
    main()
