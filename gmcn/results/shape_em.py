"""A mixture for each object by EM, and how likely the object's other points are under it.

Each object's points are stored in random order: the first half (at most 512) is fitted, as many that follow are scored,
as networks of the task `generation` are measured. By scikit-learn's ``GaussianMixture`` with its defaults (one start by
k-means, at most 100 steps, tolerance 1e-3), and by ``fit_points`` with its method ``kmeans_em`` (one start by
k-means++, steps until a tolerance of 1e-4); both with full covariances in float64.

The number of components and the floor, what is added to variances, matter much, since surfaces are thin. Both are
chosen on training objects, fitted and scored in the same way; the test objects are only measured. ``kernels`` is what
the seen points say without any fit: a kernel density (scikit-learn's ``KernelDensity``), whose bandwidth training
objects choose too. ``bytes`` are those of what has to be kept of an object, in float32.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from gmcn.data.views import parted
from gmcn.errors import InputError
from gmcn.fitting import fit_points
from gmcn.mixture import GaussianMixture

COMPONENTS = (8, 16, 32, 64, 128)
FLOORS = (1e-6, 1e-5, 1e-4, 1e-3)
BANDWIDTHS = (0.01, 0.02, 0.03, 0.04, 0.06, 0.08)
POINTS = 512
OBJECTS = 50  # training objects, of which these are chosen
SEED = 0
Progress = Callable[[int], object]


def by_sklearn(seen: Tensor, others: Tensor, n: int, floor: float) -> Tensor:  # [S, P, 3], [S, Q, 3] -> [S]
    """Mean log-likelihoods; the floor is ``reg_covar``, in squared units of the data."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture as Estimator

    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for points, rest in zip(seen.numpy(), others.numpy(), strict=True):
            found.append(Estimator(n, reg_covar=floor, random_state=SEED).fit(points).score(rest))
    return torch.tensor(found, dtype=torch.float64)


def compiled(seen: Tensor, others: Tensor, n: int, floor: float) -> Tensor:  # [S, P, 3], [S, Q, 3] -> [S]
    """Mean log-likelihoods; the floor is ``covariance_floor``, in units of the object's longest side squared."""
    fitted = fit_points(seen, n, "kmeans_em", covariance_floor=floor, seed=SEED)
    return GaussianMixture.from_mixture(fitted).log_prob(others).mean(-1)


def by_kernels(seen: Tensor, others: Tensor, bandwidth: float) -> Tensor:  # [S, P, 3], [S, Q, 3] -> [S]
    """Mean log-likelihoods under a Gaussian at each seen point, with the bandwidth (units of the data) as deviation."""
    from sklearn.neighbors import KernelDensity

    found = [
        KernelDensity(bandwidth=bandwidth).fit(points).score(rest) / len(rest)
        for points, rest in zip(seen.numpy(), others.numpy(), strict=True)
    ]
    return torch.tensor(found, dtype=torch.float64)


METHODS = {"sklearn": by_sklearn, "compiled": compiled}


def fits(points: int, training: int, test: int) -> int:
    """How many fits :func:`per_shape` tells its progress of, for objects of so many points."""
    some = min(OBJECTS, training)
    return len(METHODS) * len(_possible(points)) * (len(FLOORS) * some + test) + len(BANDWIDTHS) * some + test


def per_shape(
    training: Tensor,  # [T, M, 3]
    test: Tensor,  # [S, M, 3]
    progress: Progress,
) -> dict[str, Any]:
    """By method what was chosen, and for every number of components the means over training and test objects.

    In nats per point, with the standard deviation over test objects and the CPU seconds that an object takes on one
    thread; ``log_likelihoods`` are those of the test objects for the chosen number. ``best`` is the method that is
    chosen, by the training objects too.
    """
    possible = _possible(test.shape[1])
    if not possible:
        raise InputError(
            f"objects of {test.shape[1]} points are too few for EM: half of them are fitted with at least "
            f"{COMPONENTS[0]} components"
        )
    if len(test) < 2:
        raise InputError(f"{len(test)} test object is too few for a standard deviation; take two or more")
    some = torch.randperm(len(training), generator=torch.Generator().manual_seed(SEED))[:OBJECTS]
    seen, others = _halves(training[some])
    found: dict[str, Any] = {"objects": len(some), "points": [seen.shape[1], others.shape[1]]}
    with _one_thread():
        for name, method in METHODS.items():
            judged = {}
            for n in possible:
                for floor in FLOORS:
                    judged[n, floor] = method(seen, others, n, floor).mean().item()
                    progress(len(some))
            rows, values = {}, {}
            for n in possible:
                floor = max(FLOORS, key=lambda one, n=n: judged[n, one])
                started = time.process_time()
                values[n] = method(*_halves(test), n, floor)
                rows[str(n)] = {
                    "floor": floor,
                    "training": {str(one): judged[n, one] for one in FLOORS},
                    "log_likelihood": values[n].mean().item(),
                    "std": values[n].std().item(),
                    "seconds": (time.process_time() - started) / len(test),
                    "bytes": 4 * 10 * n,  # weight, mean and a covariance's six numbers
                }
                progress(len(test))
            n, floor = max(judged, key=judged.__getitem__)
            chosen = {"components": n, "floor": floor, "training": judged[n, floor]}
            found[name] = {"chosen": chosen, "by_components": rows, "log_likelihoods": values[n].tolist()}
        found["kernels"] = _kernel_density((seen, others), _halves(test), progress)
    return {**found, "best": max(METHODS, key=lambda name: found[name]["chosen"]["training"])}


def _kernel_density(training: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], progress: Progress) -> dict[str, Any]:
    judged = {}
    for bandwidth in BANDWIDTHS:
        judged[bandwidth] = by_kernels(*training, bandwidth).mean().item()
        progress(len(training[0]))
    chosen = max(BANDWIDTHS, key=judged.__getitem__)
    values = by_kernels(*test, chosen)
    progress(len(values))
    return {
        "bandwidth": chosen,
        "training": {str(one): judged[one] for one in BANDWIDTHS},
        "log_likelihood": values.mean().item(),
        "std": values.std().item(),
        "bytes": 4 * 3 * test[0].shape[1],
    }


def _halves(points: Tensor) -> tuple[Tensor, Tensor]:  # [S, M, 3] -> [S, P, 3] each
    half = min(POINTS, points.shape[1] // 2)
    seen, others = parted(points, half)
    return seen.double(), others[:, :half].double()


def _possible(points: int) -> list[int]:
    return [n for n in COMPONENTS if n <= min(POINTS, points // 2)]


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)
