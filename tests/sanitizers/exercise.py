"""Every operation, forward and backward, on odd sizes and all threads: for sanitizers, which are slow.

compute-sanitizer --tool memcheck python tests/sanitizers/exercise.py [cuda|cpu]
"""

from __future__ import annotations

import sys

import torch

from gmcn import Mixture, ops


def random_mixture(*shape: int, dim: int, dtype: torch.dtype, device: str) -> Mixture:
    factors = torch.randn(*shape, dim, dim, dtype=dtype)
    covariances = factors @ factors.mT + 0.3 * torch.eye(dim, dtype=dtype)
    tensors = torch.rand(*shape, dtype=dtype) + 0.1, 3 * torch.randn(*shape, dim, dtype=dtype), covariances
    return Mixture(*(tensor.to(device).requires_grad_() for tensor in tensors))


def differentiate(result: Mixture | torch.Tensor) -> None:
    outputs = [result] if isinstance(result, torch.Tensor) else result
    sum(output.square().sum() for output in outputs).backward()


def main(device: str = "cuda") -> None:
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.float64):
        for dim in (2, 3):
            for n in (1, 33, 257):
                mixture = random_mixture(3, n, dim=dim, dtype=dtype, device=device)
                points = torch.randn(3, 65, dim, dtype=dtype, device=device, requires_grad=True)
                differentiate(ops.evaluate(mixture, points))
                differentiate(ops.relu_fit(mixture))
                differentiate(ops.relu_fit(mixture, offset=0.1))
                differentiate(ops.reduce_treehem(mixture, 16))
                data = random_mixture(2, 3, n, dim=dim, dtype=dtype, device=device)
                kernels = random_mixture(2, 3, 5, dim=dim, dtype=dtype, device=device)
                differentiate(ops.convolve_fit(data, kernels, 16))
                differentiate(ops.convolve_relu_fit(data, kernels))
    if device == "cuda":
        torch.cuda.synchronize()
    print("every operation ran")


if __name__ == "__main__":
    main(*sys.argv[1:])
