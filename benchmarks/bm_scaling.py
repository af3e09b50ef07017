"""Time and memory against the number of components.

The task: 8 mixtures of N components in 3D, float32, from 256 to 16,384: the dense fit with offset 0, the reduction to
32 with T = 2, the convolution-fitting to 32 (of 8 channels of N / 32 Gaussians with 4 kernel Gaussians), and the dense
fit of the same convolution at 256 nodes, with kernels that are positive, so that there are as many nodes at each size.
Slope: of the straight line through the logarithms of N and of the seconds; 2 is quadratic, 1 is linear. What a call
costs by itself makes the slope of all sizes smaller; that of the last doubling shows the operation alone.
"""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

from common import arguments, progress, random_mixture, report
from measuring import measure, memory_limited
from torch import Tensor

from gmcn import Mixture, ops

B, KEPT, NODES = 8, 32, 256
OPERATIONS = ("relu_fit", "reduce_treehem", "convolve_fit", "convolve_relu_nodes")
CHANNELS, KERNEL = 8, 4  # of the convolution
COLUMNS = ("forward, ms", "forward + backward, ms")


def workload(name: str, n: int, device: str) -> tuple[Callable[..., Mixture], Sequence[Tensor]]:
    """The operation and its inputs."""
    if name == "relu_fit":
        return lambda *given: ops.relu_fit(Mixture(*given)), random_mixture(B, n, device=device)
    if name == "reduce_treehem":
        mixture = random_mixture(B, n, device=device, positive=True)
        return lambda *given: ops.reduce_treehem(Mixture(*given), KEPT), mixture
    at_nodes = name == "convolve_relu_nodes"
    fit, count = (ops.convolve_relu_nodes, NODES) if at_nodes else (ops.convolve_fit, KEPT)
    data = random_mixture(1, CHANNELS, n // (CHANNELS * KERNEL), device=device, positive=at_nodes)
    kernels = random_mixture(B, CHANNELS, KERNEL, device=device, seed=1, positive=at_nodes)
    return lambda *given: fit(Mixture(*given[:3]), Mixture(*given[3:]), count), [*data, *kernels]


def measure_sizes(name: str, sizes: Sequence[int], options: Namespace) -> list[dict[str, Any]]:
    rows = []
    for n in sizes:
        progress(f"scaling: {name}, N = {n}")
        operation, inputs = workload(name, n, options.device)
        found = measure(operation, inputs, None, options)
        row: dict[str, Any] = {"operation": name, "N": n}
        for column, key in zip(COLUMNS, ("forward", "both"), strict=True):
            row[column] = found[key] and 1e3 * found[key]
        rows.append(row | {"peak, MiB": found["peak"], "remark": found["remark"]})
    return rows


def slope(rows: Sequence[dict[str, Any]], column: str) -> float | None:
    """Least squares in the logarithms; None where a size failed."""
    if any(row[column] is None for row in rows):
        return None
    x = [math.log(row["N"]) for row in rows]
    y = [math.log(row[column]) for row in rows]
    x_mean, y_mean = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - x_mean) * (b - y_mean) for a, b in zip(x, y, strict=True))
    return covariance / sum((a - x_mean) ** 2 for a in x)


def plot(rows: Sequence[dict[str, Any]], slopes: dict[str, dict[str, float | None]], options: Namespace) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), sharey=True, constrained_layout=True)
    for axis, column in zip(axes, COLUMNS, strict=True):
        for name, marker in zip(slopes, "osD^", strict=False):
            own = [row for row in rows if row["operation"] == name and row[column] is not None]
            words = "failed" if slopes[name][column] is None else f"slope {slopes[name][column]:.2f}"
            axis.loglog(
                [row["N"] for row in own], [row[column] for row in own], marker=marker, label=f"{name}, {words}"
            )
        axis.set_title(column.removesuffix(", ms"))
        axis.set_xlabel("components N")
        axis.set_xscale("log", base=2)
        axis.grid(True, which="both", alpha=0.25)
        axis.legend()
    axes[0].set_ylabel("ms")
    options.output.mkdir(parents=True, exist_ok=True)
    for suffix in ("png", "svg"):
        figure.savefig(options.output / f"scaling.{suffix}", dpi=150)
    pyplot.close(figure)


def main() -> None:
    chosen = {"nargs": "+", "choices": OPERATIONS, "default": OPERATIONS, "help": "operations (default: all)"}
    options = arguments(__doc__, ("--operations", chosen))
    sizes = (64, 128) if options.smoke else tuple(2**power for power in range(8, 15))
    rows: list[dict[str, Any]] = []
    slopes: dict[str, dict[str, float | None]] = {}
    with memory_limited(options):
        for name in options.operations:
            own = measure_sizes(name, sizes, options)
            slopes[name] = {column: slope(own, column) for column in COLUMNS}
            rows += own
            rows.append({"operation": name, "N": "slope", **slopes[name]})
            last = {column: slope(own[-2:], column) for column in COLUMNS}
            rows.append({"operation": name, "N": "slope of the last doubling", **last})
    report("scaling", __doc__, rows, options, slopes=slopes)
    plot([row for row in rows if isinstance(row["N"], int)], slopes, options)


if __name__ == "__main__":
    main()
