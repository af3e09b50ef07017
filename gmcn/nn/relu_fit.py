"""The transfer function: a dense fit of a rectified mixture, section 4.1 and appendix C."""

from __future__ import annotations

from typing import Literal

from torch import nn

from gmcn import ops
from gmcn.errors import InputError, unknown
from gmcn.mixture import Mixture

RECTIFIED = ("values", "weights")


class ReLUFit(nn.Module):
    """Replaces the weights so that the mixture's values at its centres are rectified; positions and shapes stay.

    ``offset`` is added to every initial weight, ``smoothing`` to the numerator and the denominator of the
    correction. Zeros are equations (6) and (7); the authors' code has 0.1 and (0.05, 0.05). These are absolute:
    they make the fit depend on the scale of the weights and of the covariances.

    With ``rectified`` "weights" nothing is fitted: negative weights become zero, whatever lies on top of what. Appendix
    G says why this is a poor transfer function. Raises :class:`gmcn.errors.InputError` for anything else, and for
    constants of a fit that is not made.
    """

    def __init__(
        self,
        offset: float = 0.0,
        smoothing: tuple[float, float] = (0.0, 0.0),
        rectified: Literal["values", "weights"] = "values",
    ) -> None:
        super().__init__()
        if rectified not in RECTIFIED:
            raise unknown("value of rectified", rectified, RECTIFIED)
        if rectified == "weights" and (offset or any(smoothing)):
            raise InputError(
                f"ReLUFit: offset {offset} and smoothing {list(smoothing)} are of the dense fit, which rectified "
                "'weights' does not make; leave them out"
            )
        self.rectified = rectified
        self.offset, self.smoothing = float(offset), (float(smoothing[0]), float(smoothing[1]))

    def forward(
        self,
        mixture: Mixture,  # [..., N]
    ) -> Mixture:  # [..., N]
        if self.rectified == "weights":
            return mixture._replace(weights=mixture.weights.relu())
        return ops.relu_fit(mixture, offset=self.offset, smoothing=self.smoothing)

    def extra_repr(self) -> str:
        return f"offset={self.offset}, smoothing={self.smoothing}, rectified={self.rectified!r}"
