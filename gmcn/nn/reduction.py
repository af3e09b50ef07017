"""Reduction of a mixture to fewer components, section 4.1 and appendix D."""

from __future__ import annotations

import re

from torch import nn

from gmcn import ops
from gmcn.errors import InputError, unknown
from gmcn.mixture import Mixture


class Reduction(nn.Module):
    """Reduces mixtures [..., N] to [..., min(components, N)].

    ``method`` is ``treehem<T>`` (TreeHEM with T Gaussians per tree node: ``treehem2``, ``treehem4``), ``em`` (the
    modified EM), or ``none``, which leaves the mixture as it is.

    Raises:
        InputError: for an unknown method or a number of components that is not positive.
    """

    def __init__(self, method: str = "treehem2", components: int | None = None) -> None:
        super().__init__()
        tree = re.fullmatch(r"treehem([1-9]\d*)", method)
        if tree is None and method not in ("em", "none"):
            raise unknown("reduction", method, ("em", "none", "treehem2", "treehem4"))
        if method != "none" and (components is None or components < 1):
            raise InputError(f"Reduction '{method}': components is {components}; it must be a positive number")
        self.method, self.components = method, components
        self.node_size = int(tree[1]) if tree else None

    def forward(
        self,
        mixture: Mixture,  # [..., N]
    ) -> Mixture:  # [..., min(components, N)]
        if self.method == "none":
            return mixture
        if self.node_size is None:
            return ops.reduce_em(mixture, self.components)
        return ops.reduce_treehem(mixture, self.components, self.node_size)

    def extra_repr(self) -> str:
        return f"{self.method!r}, {self.components}"
