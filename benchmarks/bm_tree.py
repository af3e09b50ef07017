"""The likelihood of points along the paths of trees of Gaussians, and under one mixture, beside plain torch.

The task: the log-densities of B clouds of M points in 3D, float32, on each level of a tree of their own (PointGMM's
8, 32, 128 and 512 components, of which a point meets 20) or under a mixture, which is a tree of one level; and the
gradient with respect to points, heights, means and whiteners. Error: the deviation from float64 that one point in a
thousand exceeds, since rounding may choose another ancestor, over the largest value; of four clouds.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

import torch
from common import arguments, progress, report, save
from measuring import measure, memory_limited, sample_of
from torch import Tensor

from gmcn import ops

Sizes = tuple[int, ...]
Way = Callable[..., Tensor]  # points, heights, means, whiteners, sizes
PATH = (8, 32, 128, 512)
TASKS = ((32, 1024, PATH), (82, 2048, PATH), (32, 1024, (128,)), (32, 1024, (512,)))


def along_the_path(scores: Tensor, sizes: Sizes) -> Tensor:  # [B, M, N] -> [B, M, L]
    """From the scores of all components of all levels."""
    first, *others = scores.split(sizes, -1)
    values, ancestor = [first.logsumexp(-1)], first.argmax(-1, keepdim=True)
    for above, level in zip(sizes, others, strict=False):
        children = level.shape[-1] // above
        index = ancestor * children + torch.arange(children, device=scores.device)
        candidates = level.gather(-1, index)
        values.append(candidates.logsumexp(-1))
        ancestor = index.gather(-1, candidates.argmax(-1, keepdim=True))
    return torch.stack(values, -1)


def broadcasting(points: Tensor, heights: Tensor, means: Tensor, whiteners: Tensor, sizes: Sizes) -> Tensor:
    deltas = points[:, :, None] - means[:, None]  # [B, M, N, D]
    squares = torch.einsum("bnij,bmnj->bmni", whiteners, deltas).square().sum(-1)
    return along_the_path(heights[:, None] - squares / 2, sizes)


def quadratic(points: Tensor, heights: Tensor, means: Tensor, whiteners: Tensor, sizes: Sizes) -> Tensor:
    """Scores as one matrix product, which cancels: 1, x and x xᵀ times what each component makes of them."""
    precisions = whiteners.mT @ whiteners
    slopes = (precisions @ means[..., None])[..., 0]
    constants = heights - (slopes * means).sum(-1) / 2
    outer = (points[..., :, None] * points[..., None, :]).flatten(-2)
    features = torch.cat((torch.ones_like(points[..., :1]), points, outer), -1)
    weights = torch.cat((constants[..., None], slopes, precisions.flatten(-2) / -2), -1)
    return along_the_path(features @ weights.mT, sizes)


WAYS: dict[str, Way] = {
    "gmcn.ops.tree_log_prob": ops.tree_log_prob,
    "its plain-torch twin": ops.reference.tree_log_prob,
    "torch, broadcasting": broadcasting,
    "torch, quadratic features": quadratic,
}


def made(batch: int, points: int, sizes: Sizes) -> list[Tensor]:
    """Children around their parent, half as large, and points around the leaves."""
    generator = torch.Generator().manual_seed(0)
    levels, above = [], torch.zeros(batch, 1, 3)
    for level, size in enumerate(sizes):
        extent = 0.5**level
        spread = extent * torch.randn(batch, size, 3, generator=generator)
        above = above.repeat_interleave(size // above.shape[1], 1) + spread
        deviations = 0.3 * extent * (0.2 + torch.rand(batch, size, 3, generator=generator))
        axes = torch.linalg.qr(torch.randn(batch, size, 3, 3, generator=generator))[0]
        levels.append((-deviations.log().sum(-1), above, axes / deviations[..., None]))
    leaves = torch.randint(sizes[-1], (batch, points, 1), generator=generator).expand(-1, -1, 3)
    noise = 0.2 * 0.5 ** len(sizes) * torch.randn(batch, points, 3, generator=generator)
    return [above.gather(1, leaves) + noise, *(torch.cat(parts, 1) for parts in zip(*levels, strict=True))]


def error_of(values: Tensor, exact: Tensor, rows: Tensor) -> float:
    deviations = (values[rows.to(values.device)].cpu().double() - exact).abs().amax(-1).flatten()
    return float(deviations.quantile(0.999) / exact.abs().max())


def row_of(task: tuple[int, int, Sizes], name: str, tensors: list[Tensor], options: Namespace) -> dict[str, Any]:
    batch, points, sizes = task
    some = sample_of(batch)
    exact = ops.reference.tree_log_prob(*(tensor[some.to(tensor.device)].cpu().double() for tensor in tensors), sizes)
    found = measure(lambda *inputs: WAYS[name](*inputs, sizes), tensors, None, options)
    values = found["values"]
    return {
        "B x M": f"{batch} x {points}",
        "components": " + ".join(map(str, sizes)),
        "way": name,
        "forward, ms": found["forward"] and 1e3 * found["forward"],
        "both, ms": found["both"] and 1e3 * found["both"],
        "error": values and error_of(values[0], exact, some),
        "peak, MiB": found["peak"],
        "remark": found["remark"],
    }


def main() -> None:
    options = arguments(__doc__)
    tasks = ((2, 64, (2, 4, 8)), (2, 64, (16,))) if options.smoke else TASKS
    rows: list[dict[str, Any]] = []
    with memory_limited(options):
        for task in tasks:
            tensors = [tensor.to(options.device) for tensor in made(*task)]
            for name in WAYS:
                progress(f"tree, {task}: {name}")
                rows.append(row_of(task, name, tensors, options))
                save("tree", __doc__, rows, options)
    report("tree", __doc__, rows, options)


if __name__ == "__main__":
    main()
