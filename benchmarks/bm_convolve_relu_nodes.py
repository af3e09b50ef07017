"""The dense fit of a convolution at the nodes of its positive part, beside what else one could run.

The task: the five layers of the paper's network (128 Gaussians in 3D, kernels of 5) on 4 shapes, float32, with r nodes
for each Gaussian that the layer ends with (the last layer, which is not reduced, has 64); the gradient is that of data
and kernels. "Whole layer" reduces the nodes to the layer's Gaussians as well; its rival "exact" fits at all centres.
"Tree given" does not count what finds the nodes, which loops in Python. Error: largest deviation of weights, positions
and covariances from float64 over their largest, in four channels of a shape; ours and torch.compile from the twin,
today's operations, which cut other nodes, from themselves. Fit error: standardised, of a whole layer against the
rectified convolution, at random positions of one shape. Share of the limit: of limits.py, with the pairs that are
visited.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

import rivals
import torch
from common import arguments, progress, random_mixture, report, save
from limits import node_limits
from measuring import deviation, measure, memory_limited
from torch import Tensor
from train_step import COMPONENTS, NETWORK

from gmcn import Mixture, ops
from gmcn.declared import defaults
from gmcn.models.gmcn import GMCN, nodes
from gmcn.ops.reference.convolve_fit import match_moments
from gmcn.results.rmse import ErrorSum, random_positions

Layer = tuple[int, int, int, int | None]  # channels in, Gaussians, channels out, Gaussians after the reduction
Way = Callable[..., Mixture]
KERNEL = 5
CHECKED = 4  # channels whose error is measured: the twin takes a second for each
POSITIONS = 1_000  # per channel
COLUMNS = (("forward", "forward"), ("forward + backward", "both"))


def paper_layers() -> list[Layer]:
    layers, channels, given = [], 1, COMPONENTS
    for width, kept in [*NETWORK["layers"], (NETWORK["classes"], None)]:
        layers.append((channels, given, width, kept))
        channels, given = width, kept
    return layers


def nodes_of(kept: int | None, ratio: int) -> int:
    """As the network's option fit_at has it."""
    own = defaults(GMCN)
    return nodes(kept, ratio, own["fit_at_last"], own["fit_at_least"])


def on_mixtures(operation: Callable[[Mixture, Mixture], Mixture]) -> Way:
    return lambda *given: operation(Mixture(*given[:3]), Mixture(*given[3:]))


def from_python(n: int) -> Way:
    """With the operations that there were: the convolution is stored, its positive part sorted by convolve_fit."""

    def way(data: Mixture, kernels: Mixture) -> Mixture:
        positive = kernels._replace(weights=kernels.weights.clamp(min=0))
        found = ops.convolve_fit(data, positive, n)
        f, g = (ops.evaluate(ops.convolve(data, some), found.positions) for some in (kernels, positive))
        share = f.clamp(min=0) / g.clamp(min=torch.finfo(g.dtype).tiny)
        return found._replace(weights=found.weights * share.clamp(max=1))

    return on_mixtures(way)


def given_tree(group: Tensor, n: int) -> Way:
    """The twin's tensor part, values by matrix products; ``group`` [B, G, N*F*K] is each component's node."""
    slots = group.long().clamp(min=0)

    def way(data: Mixture, kernels: Mixture) -> Mixture:
        full = ops.reference.convolve(data, kernels)
        positive = full.weights.clamp(min=0)
        found = match_moments(full._replace(weights=positive), slots, n)
        sets = torch.stack((full.weights, positive), -1).flatten(0, 1)
        rest = (tensor.flatten(0, 1) for tensor in (full.positions, full.covariances, found.positions))
        f, g = rivals.quadratic(sets, *rest).reshape(*found.weights.shape, 2).unbind(-1)
        share = f.clamp(min=0) / g.clamp(min=torch.finfo(g.dtype).tiny)
        return found._replace(weights=found.weights * share)

    return on_mixtures(way)


def at_nodes(n: int, kept: int | None) -> Way:
    """A whole layer."""

    def way(data: Mixture, kernels: Mixture) -> Mixture:
        found = ops.convolve_relu_nodes(data, kernels, n)
        return found if kept is None else ops.reduce_treehem(found, kept)

    return on_mixtures(way)


def exact(kept: int | None) -> Way:
    """A whole layer, fitted at all centres."""

    def way(data: Mixture, kernels: Mixture) -> Mixture:
        if kept is None:
            return ops.relu_fit(ops.convolve(data, kernels))
        weights = ops.convolve_relu_fit(data, kernels)
        return ops.convolve_reduce_treehem(weights, data, kernels, kept)

    return on_mixtures(way)


def part_of(data: Mixture, kernels: Mixture) -> tuple[Mixture, Mixture]:
    """The first shape and the channels whose error is measured, in float64 on the CPU."""
    parts = data.map(lambda tensor: tensor[:1]), kernels.map(lambda tensor: tensor[:CHECKED])
    return parts[0].to("cpu", torch.float64), parts[1].to("cpu", torch.float64)


def fit_error(values: list[Tensor], data: Mixture, kernels: Mixture) -> float | None:
    """Of the first shape of a layer's result [B, G, ...]."""
    one = data.map(lambda tensor: tensor[:1])
    full = ops.convolve(one, kernels)
    points = random_positions(full.positions, full.covariances, POSITIONS, torch.Generator().manual_seed(2))
    sums = ErrorSum()
    sums.add(ops.evaluate(full, points).clamp(min=0), ops.evaluate(Mixture(*(value[:1] for value in values)), points))
    return sums.result()["standardised"]


def limits_of(data: Mixture, kernels: Mixture, kept: list[Tensor], options: Namespace) -> tuple[float | None, ...]:
    """Seconds, forward and both, for what the operation keeps for its backward pass: mass, f, g, group."""
    if options.device == "cuda":
        return None, None
    mass, f, _, group = kept
    per_node = group.shape[-1]
    inputs = sum(tensor.nbytes for tensor in (*data, *kernels))
    results = group.nbytes + 16 * mass.nbytes  # 13 numbers of a node and three that are kept
    pairs = [per_node * float((some > 0).sum()) for some in (mass, f)]
    return node_limits(options, pairs, group.numel(), (inputs + results, 2 * inputs + 2 * results))


def rows_of(name: str, layer: Layer, options: Namespace) -> Iterator[dict[str, Any]]:
    f, n, g, kept = layer
    data = random_mixture(options.batch, f, n, device=options.device, positive=True)
    kernels = random_mixture(g, f, KERNEL, device=options.device, seed=1)
    part = part_of(data, kernels)

    def row(ratio: int | str, count: int, way: str, run: Way, truth: Mixture | None, limits: Any) -> dict[str, Any]:
        progress(f"convolve_relu_nodes: {name}, r = {ratio}: {way}")
        found = measure(run, [*data, *kernels], None, options)
        result: dict[str, Any] = {"layer": name, "r": ratio, "nodes": count, "way": way}
        for (words, key), limit in zip(COLUMNS, limits, strict=True):
            result[f"{words}, ms"] = found[key] and 1e3 * found[key]
            result[f"{words}, share of the limit"] = found[key] and limit and limit / found[key]
        result |= dict.fromkeys(("error", "fit error"))
        if (values := found["values"]) is not None:
            if truth is None:
                result["fit error"] = fit_error(values, data, kernels)
            else:
                result["error"] = deviation([value[:1, :CHECKED] for value in values], list(truth))
        return result | {"peak, MiB": found["peak"], "remark": found["remark"]}

    yield row("exact", f * n * KERNEL, "gmcn, whole layer, exact", exact(kept), None, (None, None))
    for ratio in options.ratios:
        count = min(nodes_of(kept, ratio), f * n * KERNEL)
        of_backward = torch.ops.gmcn.convolve_relu_nodes(*data, *kernels, count)[3:]
        twin = ops.reference.convolve_relu_nodes(*part, count)
        ways = {
            "gmcn.ops.convolve_relu_nodes": (at_nodes(count, None), twin),
            "operations from Python": (from_python(count), from_python(count)(*part[0], *part[1])),
        }
        if ratio == options.ratios[0] and not options.smoke:  # compiling takes longer than measuring
            compiled = torch.compile(given_tree(of_backward[3], count), dynamic=False)
            ways["torch.compile, quadratic features, tree given"] = (compiled, twin)
        for way, (run, truth) in ways.items():
            yield row(ratio, count, way, run, truth, limits_of(data, kernels, of_backward, options))
        yield row(ratio, count, "gmcn, whole layer", at_nodes(count, kept), None, (None, None))


def totals(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the ways that every layer has: the sum over the layers."""
    layers = len({row["layer"] for row in rows})
    result = []
    for ratio, way in dict.fromkeys((row["r"], row["way"]) for row in rows):
        own = [row for row in rows if (row["r"], row["way"]) == (ratio, way)]
        times = {f"{words}, ms": [row[f"{words}, ms"] for row in own] for words, _ in COLUMNS}
        if len(own) == layers and all(None not in column for column in times.values()):
            sums = {column: sum(values) for column, values in times.items()}
            result.append({"layer": "all", "r": ratio, "nodes": sum(row["nodes"] for row in own), "way": way, **sums})
    return result


def main() -> None:
    options = arguments(
        __doc__,
        ("--batch", {"type": int, "default": 4, "help": "shapes (default: 4)"}),
        ("--ratios", {"type": int, "nargs": "+", "default": [4, 2, 1], "help": "nodes per Gaussian (default: 4 2 1)"}),
    )
    layers = paper_layers()
    if options.smoke:
        layers, options.batch, options.ratios = [(1, 8, 2, 4), (2, 4, 3, None)], 2, [2]
    rows: list[dict[str, Any]] = []
    with memory_limited(options):
        for index, layer in enumerate(layers):
            for row in rows_of(str(index + 1), layer, options):
                rows.append(row)
                save("convolve_relu_nodes", __doc__, rows, options)
    report("convolve_relu_nodes", __doc__, [*rows, *totals(rows)], options)


if __name__ == "__main__":
    main()
