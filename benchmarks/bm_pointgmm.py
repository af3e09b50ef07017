"""A training step of PointGMM, with its compiled operations and in plain torch.

The task: loss and gradient of a batch of clouds, float32: of the authors' size (82 clouds of 2,048 points, codes of
256, width 512, 512 leaves, hard path), and of the variant `pointgmm` (32 clouds, 512 of 1,024 points seen, 128 leaves,
path and leaves). In plain torch the likelihood is the operation's twin, and all points are normalised before the
maximum.
Error: deviation of the loss from float64 in plain torch, over the loss.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from common import arguments, progress, report, save
from measuring import peak_of, seconds_of
from torch import Tensor

from gmcn import ops
from gmcn.models import PointGMM
from gmcn.nn import BatchNorm
from gmcn.nn.point_encoder import NormedMaxima

PUBLISHED = {"width": 512, "splits": 3, "encoder": (64, 128, 1024), "likelihood": "hard-path"}
OURS = {"width": 256, "splits": 2, "encoder": (64, 128, 512), "likelihood": "path-and-leaves"}
SMALL = {"width": 16, "splits": 1, "encoder": (8, 16), "likelihood": "path-and-leaves"}
TASKS = (("the authors' size", 82, 2048, 2048, PUBLISHED), ("`pointgmm`", 32, 512, 1024, OURS))


def all_rows(self: NormedMaxima, rows: Tensor, matrix: Tensor) -> Tensor:  # [B, M, K], [C, K] -> [B, C]
    return BatchNorm.forward(self, rows.flatten(0, 1) @ matrix.mT).unflatten(0, rows.shape[:2]).amax(1)


@contextlib.contextmanager
def plain() -> Iterator[None]:
    twin = mock.patch.object(ops, "tree_log_prob", ops.reference.tree_log_prob)
    with twin, mock.patch.object(NormedMaxima, "forward", all_rows):
        yield


WAYS: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
    "gmcn.models.PointGMM": contextlib.nullcontext,
    "the same in plain torch": plain,
}


def step(network: PointGMM, points: Tensor, seen: int) -> float:
    network.zero_grad()
    tree, penalty = network.outputs_and_penalty(points[:, :seen])
    loss = penalty - network.log_likelihoods(tree, points).mean((0, 1)).sum()
    loss.backward()
    return loss.item()


def main() -> None:
    options = arguments(__doc__)
    tasks = (("small", 3, 30, 60, SMALL),) if options.smoke else TASKS
    rows: list[dict[str, Any]] = []
    for name, batch, seen, count, sizes in tasks:
        # Without random numbers, so that all ways compute the same.
        network: Any = PointGMM(**sizes, variational=False, dropout=0, seed=0).to(options.device)
        points = 0.3 * torch.randn(batch, count, 3, generator=torch.Generator().manual_seed(0)).to(options.device)
        with plain():
            exact = step(copy.deepcopy(network).double(), points.double(), seen)
        for way, entered in WAYS.items():
            progress(f"pointgmm, {name}: {way}")
            with entered():
                error = abs(step(network, points, seen) - exact) / abs(exact)
                seconds = seconds_of(lambda: step(network, points, seen), options)  # noqa: B023
                peak = peak_of(lambda: step(network, points, seen), options)  # noqa: B023
            parameters = network.parameter_counts()["parameters"]
            measured = {"s": seconds, "error": error, "peak, MiB": peak}
            rows.append({"task": name, "parameters": parameters, "way": way, **measured})
            save("pointgmm", __doc__, rows, options)
    report("pointgmm", __doc__, rows, options)


if __name__ == "__main__":
    main()
