"""The dense fit of a convolution that is never stored, beside convolving first.

The task: the new weights of the paper's second layer for 4 shapes (8 channels of 64 Gaussians, 16 x 8 kernels of 5: 64
mixtures of N = 2,560 components), 3D, float32, offset 0; the gradient is that of data and kernels. Centres of
non-positive weight are not visited; the share of the limit counts the pairs that are. Error: largest deviation of the
weights from float64 over the largest weight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import rivals
import torch
from common import arguments, progress, random_mixture, report
from limits import pair_limits
from measuring import measure, memory_limited
from torch import Tensor

from gmcn import Mixture, ops


def convolved(*given: Tensor) -> Mixture:
    return ops.convolve(Mixture(*given[:3]), Mixture(*given[3:]))


def after_convolving(fit: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A fit of [B, N] mixtures as one of the convolution."""

    def way(*given: Tensor) -> Tensor:
        mixture = convolved(*given)
        return fit(*mixture.map(lambda tensor: tensor.flatten(0, 1))).reshape(mixture.weights.shape)

    return way


def exact_weights(mixture: Mixture) -> Tensor:
    """In float64 on the CPU; by our kernel, which the tests compare with the definition, since that takes minutes."""
    return ops.relu_fit(mixture.to("cpu", torch.float64)).weights


def main() -> None:
    options = arguments(__doc__)
    b, f, n, g, k = (2, 2, 8, 2, 3) if options.smoke else (4, 8, 64, 16, 5)
    data = random_mixture(b, f, n, device=options.device)
    kernels = random_mixture(g, f, k, device=options.device, seed=1)
    full = ops.convolve(data, kernels)
    ways = {
        "gmcn.ops.convolve_relu_fit": lambda *given: ops.convolve_relu_fit(Mixture(*given[:3]), Mixture(*given[3:])),
        "gmcn.ops.convolve, then relu_fit": lambda *given: ops.relu_fit(convolved(*given)).weights,
        "convolve, then fused attention (SDPA)": after_convolving(rivals.relu_fit_by(rivals.attention, 0.0)),
        "convolve, then torch, quadratic features": after_convolving(rivals.relu_fit_by(rivals.quadratic, 0.0)),
    }
    pairs = full.components * float((full.weights > 0).sum())  # that are visited
    exact, rows = [exact_weights(full)], []
    with memory_limited(options):
        for name, way in ways.items():
            progress(f"convolve_relu_fit: {name}")
            limits = pair_limits(options, weight_sets=2)
            found = measure(way, [*data, *kernels], exact, options)
            row: dict[str, Any] = {"way": name}
            for words, key, limit in zip(("forward", "forward + backward"), ("forward", "both"), limits, strict=True):
                row[f"{words}, ms"] = found[key] and 1e3 * found[key]
                row[f"{words}, share of the limit"] = found[key] and pairs / found[key] / limit
            rows.append(row | {"error": found["error"], "peak, MiB": found["peak"], "remark": found["remark"]})
    report("convolve_relu_fit", __doc__, rows, options)


if __name__ == "__main__":
    main()
