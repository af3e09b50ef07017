"""Theoretically minimal memory of a network, appendix A of the paper, equations (10)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gmcn.declared import defaults
from gmcn.models.gmcn import GMCN, nodes

FLOATS = {2: 6, 3: 10}  # a weight, a position and a symmetric covariance
BYTES_PER_FLOAT = 4
# What tables 5 and 6 are about.
PAPER = {
    "network": {"layers": [[8, 64], [16, 32], [32, 16], [64, 8]], "classes": 10, "kernel_components": 5},
    "components": 128,
    "batch_size": 32,
}


def theoretical_footprint(
    network: Mapping[str, Any], *, components: int, batch_size: int, fused: bool
) -> dict[str, Any]:
    """Gaussians and bytes of each layer and of all, kernels and data with their gradients.

    ``network`` holds the arguments of :class:`gmcn.models.GMCN` with ``classes`` and ``dim``; ``components`` is the
    number of input Gaussians. Unfused (table 6), a layer stores all N_o = F_i N_i N_k Gaussians of its convolution, or
    its nodes where it fits at these (``fit_at``); fused (table 5), a convolution with built-in fitting stores N_o = 2
    N_p. The last layer, which is not reduced, counts with half of its input Gaussians as N_p, as in the paper's tables.
    """
    network = {**defaults(GMCN), **network}
    kernel, dim, reduced = network["kernel_components"], network["dim"], network["reduction"] != "none"
    fit_at = [network[key] for key in ("fit_at", "fit_at_last", "fit_at_least")]
    layers = []
    channels, given = network["in_channels"], components
    for out_channels, wanted in [*network["layers"], (network["classes"], None)]:
        convolved = channels * given * kernel
        pooled = max(1, given // 2) if wanted is None else min(wanted, convolved) if reduced else convolved
        stored = min(2 * pooled if fused else nodes(wanted, *fit_at) or convolved, convolved)
        kernels = channels * out_channels * kernel
        onward = out_channels + (channels if network["skip"] and wanted is not None else 0)
        data = batch_size * (out_channels * stored + onward * pooled)
        gaussians = 2 * (kernels + data)  # with their gradients
        layers.append(
            {
                "F_i": channels,
                "F_o": out_channels,
                "N_i": given,
                "N_o": stored,
                "N_p": pooled,
                "N_k": kernel,
                "K": kernels,
                "D": data,
                "G": gaussians,
                "bytes": gaussians * FLOATS[dim] * BYTES_PER_FLOAT,
            }
        )
        channels, given = onward, pooled
    return {
        "batch_size": batch_size,
        "layers": layers,
        "gaussians": sum(layer["G"] for layer in layers),
        "bytes": sum(layer["bytes"] for layer in layers),
    }
