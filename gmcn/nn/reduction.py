"""Reduction of a mixture to fewer components, section 4.1 and appendix D."""

from __future__ import annotations

import math
import re
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gmcn import ops
from gmcn.errors import InputError, unknown
from gmcn.mixture import Mixture

COUNTS = ("exact", "authors")


class Reduction(nn.Module):
    """Reduces mixtures [..., N] to [..., min(components, N)].

    Args:
        method: ``treehem<T>`` (TreeHEM with T Gaussians per tree node: ``treehem2``, ``treehem4``), ``em`` (the
            modified EM), or ``none``, which leaves the mixture as it is.
        components: of the result, n.
        count: how many of them TreeHEM fits: all n (``exact``), or ``authors``, n - T but at least min(n, T), where the
            rest is padding of weight 0 at the origin, with the average variance. The authors' code has up to T - 1
            more where nodes of its tree are not full.
        kl_threshold: divergence from which on TreeHEM does not merge; None for no such gate.
        virtual_samples: of TreeHEM, per tree node; more of them make assignments harder.
        em_refine: steps of :func:`gmcn.ops.refine_em` after the reduction, of either method.

    Raises:
        InputError: for an unknown method or count, a number of components that is not positive, negative options.
    """

    def __init__(
        self,
        method: str = "treehem2",
        components: int | None = None,
        *,
        count: Literal["exact", "authors"] = "exact",
        kl_threshold: float | None = 0.5,
        virtual_samples: float = 4.0,
        em_refine: int = 0,
    ) -> None:
        super().__init__()
        tree = re.fullmatch(r"treehem([1-8])", method)
        if tree is None and method not in ("em", "none"):
            raise unknown("reduction", method, ("em", "none", "treehem2", "treehem4"))
        if method != "none" and (components is None or components < 1):
            raise InputError(f"Reduction '{method}': components is {components}; it must be a positive number")
        if count not in COUNTS:
            raise unknown("reduction_count", count, COUNTS)
        threshold = math.inf if kl_threshold is None else float(kl_threshold)
        if not (threshold >= 0 and 0 <= virtual_samples < math.inf and em_refine >= 0):
            raise InputError(
                f"Reduction '{method}': kl_threshold {kl_threshold}, virtual_samples {virtual_samples} and em_refine "
                f"{em_refine} must not be negative; kl_threshold may be None, for no gate"
            )
        self.method, self.components, self.count, self.em_refine = method, components, count, em_refine
        self.node_size = int(tree[1]) if tree else None
        self.merging: dict[str, Any] = {"kl_threshold": threshold, "virtual_samples": float(virtual_samples)}

    def fitted(self, given: int) -> int:
        """Components to which so many are reduced; where that is less than :meth:`kept`, padding follows."""
        if self.components is None or self.count == "exact" or self.node_size is None or given <= self.components:
            return self.components or given
        return max(min(self.components, self.node_size), self.components - self.node_size)

    def kept(self, given: int) -> int:
        """Components of the result for so many, padding among them."""
        return min(self.components or given, given)

    def forward(
        self,
        mixture: Mixture,  # [..., N]
    ) -> Mixture:  # [..., min(components, N)]
        if self.method == "none":
            return mixture
        wanted = self.fitted(mixture.components)
        if self.node_size is None:
            reduced = ops.reduce_em(mixture, wanted)
        else:
            reduced = ops.reduce_treehem(mixture, wanted, self.node_size, **self.merging)
        if self.em_refine and reduced.components < mixture.components:
            reduced = ops.refine_em(reduced, mixture, self.em_refine)
        missing = self.kept(mixture.components) - reduced.components
        if missing == 0:
            return reduced
        return pad(reduced, missing, mixture.covariances.diagonal(dim1=-2, dim2=-1).mean((-2, -1)))

    def extra_repr(self) -> str:
        options = "".join(f", {name}={value}" for name, value in self.merging.items()) if self.node_size else ""
        return f"{self.method!r}, {self.components}, count={self.count!r}{options}, em_refine={self.em_refine}"


def pad(
    mixture: Mixture,  # [..., N]
    missing: int,
    variance: Tensor,  # [...]
) -> Mixture:  # [..., N + missing]
    """So many zero weights more, at the origin and with that variance along every axis."""
    weights, positions, _ = mixture
    identity = torch.eye(mixture.dim, dtype=weights.dtype, device=weights.device)
    padding = Mixture(
        weights.new_zeros(*mixture.batch_shape, missing),
        positions.new_zeros(*mixture.batch_shape, missing, mixture.dim),
        (variance[..., None, None, None] * identity).expand(*mixture.batch_shape, missing, -1, -1),
    )
    return Mixture(*(torch.cat(pair, len(mixture.batch_shape)) for pair in zip(mixture, padding, strict=True)))
