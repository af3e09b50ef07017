"""Every operation, forward and backward, on odd sizes and all threads: for sanitizers, which are slow.

compute-sanitizer --tool memcheck python tests/sanitizers/exercise.py [cuda|cpu]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from gmcn import Mixture, ops

SIZES = (1, 33, 257)
DTYPES = (torch.float32, torch.float64)
# By name, inputs and a function of them.
Case = tuple[str, Sequence[Tensor], Callable[..., "Mixture | Tensor"]]


def random_mixture(*shape: int, dim: int, dtype: torch.dtype, positive: bool = False) -> Mixture:
    factors = torch.randn(*shape, dim, dim, dtype=dtype)
    covariances = factors @ factors.mT + 0.3 * torch.eye(dim, dtype=dtype)
    weights = torch.rand(*shape, dtype=dtype) + 0.1 if positive else torch.randn(*shape, dtype=dtype)
    return Mixture(weights, 3 * torch.randn(*shape, dim, dtype=dtype), covariances)


def cases(dim: int, n: int, dtype: torch.dtype) -> Iterator[Case]:
    """Operations on mixtures of n components, always the same ones, on the CPU."""
    torch.manual_seed(0)
    mixture = random_mixture(3, n, dim=dim, dtype=dtype)
    points = torch.randn(3, 65, dim, dtype=dtype)
    yield "evaluate", (*mixture, points), lambda *given: ops.evaluate(Mixture(*given[:3]), given[3])
    yield "relu_fit", mixture, lambda *given: ops.relu_fit(Mixture(*given))
    yield "relu_fit, offset", mixture, lambda *given: ops.relu_fit(Mixture(*given), offset=0.1)
    heights, means, whiteners = random_mixture(3, 4 * n, dim=dim, dtype=dtype)
    yield "tree_log_prob", (points, heights, means, whiteners), lambda *given: ops.tree_log_prob(*given, (n, 3 * n))
    positive = random_mixture(3, n, dim=dim, dtype=dtype, positive=True)
    yield "reduce_treehem", positive, lambda *given: ops.reduce_treehem(Mixture(*given), 16)
    if n > SIZES[-1]:  # on the CPU, pairs of convolved components take too long
        return
    both = *random_mixture(2, 3, n, dim=dim, dtype=dtype), *random_mixture(2, 3, 5, dim=dim, dtype=dtype)
    yield "convolve_fit", both, lambda *given: ops.convolve_fit(Mixture(*given[:3]), Mixture(*given[3:]), 16)
    yield "convolve_relu_fit", both, lambda *given: ops.convolve_relu_fit(Mixture(*given[:3]), Mixture(*given[3:]))
    both = *random_mixture(2, 3, n, dim=dim, dtype=dtype, positive=True), *both[3:]
    yield (
        "convolve_relu_nodes",
        both,
        lambda *given: ops.convolve_relu_nodes(Mixture(*given[:3]), Mixture(*given[3:]), 16),
    )
    weights = torch.rand(2, 2, 3 * n * 5, dtype=dtype)
    yield (
        "convolve_reduce_treehem",
        (weights, *both),
        lambda new, *given: ops.convolve_reduce_treehem(new, Mixture(*given[:3]), Mixture(*given[3:]), 16),
    )


def differentiated(case: Case, device: str, dtype: torch.dtype | None = None) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs of a case, and gradients of their sum of squares for all inputs that have one."""
    _, inputs, function = case
    leaves = [tensor.detach().to(device, dtype).requires_grad_() for tensor in inputs]
    result = function(*leaves)
    outputs = [result] if isinstance(result, Tensor) else list(result)
    total = sum(output.square().sum() for output in outputs)
    gradients = torch.autograd.grad(total, leaves, allow_unused=True)
    return [output.detach() for output in outputs], [gradient for gradient in gradients if gradient is not None]


def main(device: str = "cuda") -> None:
    for dtype in DTYPES:
        for dim in (2, 3):
            for n in SIZES:
                for case in cases(dim, n, dtype):
                    differentiated(case, device)
    if device == "cuda":
        torch.cuda.synchronize()
    print("every operation ran")


if __name__ == "__main__":
    main(*sys.argv[1:])
