"""The stage `least-squares`: the alternatives to the dense fit of appendix B, timed and compared (table 7).

Equation (11) asks for weights y with A y = t: A holds the mixture's Gaussians, of weight one, at the positions D, and t
is max(0, f) there. The paper times both ways to solve it but shows no errors; here the fits are also compared with
max(0, f) at fresh random positions.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from gmcn import ops
from gmcn.artifacts import provenance, write_json
from gmcn.declared import Seed, above, at_least, read
from gmcn.device import own_defaults, select_device
from gmcn.errors import unknown
from gmcn.mixture import Mixture
from gmcn.results.rmse import ErrorSum
from gmcn.results.seeds import finite_or_none

SOLVERS = {"pinv": ("centres", "both", "random"), "lstsq": ("centres", "both", "random"), "heuristic": ("centres",)}
BATCH = 16  # mixtures at a time: A is then 16 MiB at four times 256 positions, the workspace a few times that
FRESH = 1024  # positions per mixture at which the fits are compared


@dataclass(frozen=True)
class LeastSquaresSettings:
    """The measurement of table 7."""

    mixtures: Annotated[int, at_least(1), "Random mixtures in 2D."] = 800
    components: Annotated[int, at_least(2), "Gaussians per mixture."] = 256
    limit: Annotated[float, above(0), "Seconds after which a solver is stopped, between batches of mixtures."] = 120.0
    seed: Seed = 0


@own_defaults()
def measure(*, settings: Mapping[str, Any], output: str | os.PathLike, device: str = "auto") -> dict[str, Any]:
    """Time and error of every solver and choice of positions; writes ``output`` and returns it.

    ``settings`` are those of :class:`LeastSquaresSettings`. The ``seconds`` of a solver that is stopped at their limit
    are scaled to all mixtures, and ``measured`` says how many it has done. A solver that gives up has no numbers but
    an ``error``.
    """
    own = read(LeastSquaresSettings, settings, "least_squares")
    device = select_device(device)
    mixture = random_mixtures(own.mixtures, own.components, own.seed).to(device)
    entries = [
        {"solver": solver, "positions": positions, **_attempt(mixture, solver, positions, own)}
        for solver, choices in SOLVERS.items()
        for positions in choices
    ]
    origin = provenance()
    result = {
        "settings": asdict(own),
        "device": origin["gpu" if device.type == "cuda" else "cpu"] or str(device),
        "threads": torch.get_num_threads(),
        "entries": entries,
        "provenance": origin,
    }
    write_json(output, result)
    return result


def random_mixtures(count: int, components: int, seed: int) -> Mixture:  # [count, components], D = 2
    """Mixtures as they come out of a convolution: overlapping Gaussians of both signs, on the unit square."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(count, components, generator=generator) / components
    positions = torch.rand(count, components, 2, generator=generator)
    # Axes of 0.02 to 0.08, turned at random.
    deviations = 0.02 * 4 ** torch.rand(count, components, 2, generator=generator)
    angles = torch.pi * torch.rand(count, components, generator=generator)
    axes = torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], -1).unflatten(-1, (2, 2))
    return Mixture(weights, positions, axes @ torch.diag_embed(deviations**2) @ axes.mT)


def solve(
    mixture: Mixture,  # [B, N]
    solver: str,
    positions: Tensor,  # [B, M, D]
) -> Mixture:  # [B, N]
    """A mixture of the same Gaussians that follows max(0, mixture) at ``positions``.

    ``solver``: ``pinv``, ``lstsq``, or ``heuristic``, the dense fit, which only looks at the centres. Matrices are
    rank-deficient in float32: LAPACK's gelsy, torch's default on the CPU, left residuals as large as the target there,
    so that lstsq is by singular values (gelsd). CUDA has gels only, which does not know of rank.
    """
    if solver == "heuristic":
        return ops.relu_fit(mixture)
    matrix = gaussians_at(mixture, positions)  # [B, M, N]
    target = ops.evaluate(mixture, positions).clamp(min=0)[..., None]  # [B, M, 1]
    if solver == "pinv":
        weights = torch.linalg.pinv(matrix) @ target
    elif solver == "lstsq":
        driver = "gels" if matrix.is_cuda else "gelsd"
        weights = torch.linalg.lstsq(matrix, target, driver=driver).solution
    else:
        raise unknown("solver", solver, SOLVERS)
    return mixture._replace(weights=weights.squeeze(-1))


def positions_of(
    mixture: Mixture,  # [B, N]
    choice: str,
    generator: torch.Generator,
    share: float = 4.0,
) -> Tensor:  # [B, M, D]
    """D of appendix B: ``centres`` (B), ``both`` (concat(B, rand(N, k))) or ``random`` (rand(``share`` N, k))."""
    if choice == "centres":
        return mixture.positions
    if choice == "both":
        return torch.cat([mixture.positions, _uniform(mixture, mixture.components, generator)], -2)
    if choice == "random":
        return _uniform(mixture, round(share * mixture.components), generator)
    raise unknown("choice of positions", choice, ("centres", "both", "random"))


def gaussians_at(
    mixture: Mixture,  # [B, N]
    positions: Tensor,  # [B, M, D]
) -> Tensor:  # [B, M, N]
    """Equation (12): every Gaussian, of weight one, at every position."""
    factors = torch.linalg.cholesky(mixture.covariances)  # [B, N, D, D]
    shifts = positions[:, None] - mixture.positions[:, :, None]  # [B, N, M, D]
    whitened = torch.linalg.solve_triangular(factors, shifts.mT, upper=False)  # [B, N, D, M]
    peaks = (2 * torch.pi) ** (-mixture.dim / 2) / factors.diagonal(dim1=-2, dim2=-1).prod(-1)  # [B, N]
    return (peaks[..., None] * torch.exp(-0.5 * whitened.square().sum(-2))).mT


def _uniform(mixture: Mixture, count: int, generator: torch.Generator) -> Tensor:  # [B, count, D], in the unit square
    drawn = torch.rand(len(mixture.weights), count, mixture.dim, generator=generator)
    return drawn.to(mixture.positions)


def _attempt(*arguments: Any) -> dict[str, Any]:
    try:
        return _measure(*arguments)
    except torch.linalg.LinAlgError as error:
        return {"seconds": None, "measured": 0, "rmse": None, "standardised_rmse": None, "error": str(error)}


def _measure(mixture: Mixture, solver: str, choice: str, settings: LeastSquaresSettings) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(settings.seed + 1)
    errors, seconds, done, total = ErrorSum(), 0.0, 0, len(mixture.weights)
    # The first call of a library pays for its own start.
    head = mixture.map(lambda tensor: tensor[:1])
    solve(head, solver, positions_of(head, choice, torch.Generator()))
    while done < total and seconds < settings.limit:
        part = mixture.map(lambda tensor, start=done: tensor[start : start + BATCH])
        positions, fresh = positions_of(part, choice, generator), _uniform(part, FRESH, generator)
        started = _now(mixture)
        fitted = solve(part, solver, positions)
        seconds += _now(mixture) - started
        errors.add(ops.evaluate(part, fresh).clamp(min=0), ops.evaluate(fitted, fresh))
        done += len(part.weights)
    error = errors.result()
    return {
        "seconds": seconds * total / done,
        "measured": done,
        "rmse": finite_or_none(error["rmse"]),
        "standardised_rmse": error["standardised"],
    }


def _now(mixture: Mixture) -> float:
    if mixture.weights.is_cuda:
        torch.cuda.synchronize(mixture.weights.device)
    return time.perf_counter()
