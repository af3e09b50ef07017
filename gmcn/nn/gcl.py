"""A whole Gaussian convolution layer, the block of figure 4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from gmcn import ops
from gmcn.errors import InputError
from gmcn.mixture import Mixture
from gmcn.nn.convolution import GaussianConvolution
from gmcn.nn.norm import MixtureNorm
from gmcn.nn.reduction import Reduction, pad
from gmcn.nn.relu_fit import ReLUFit
from gmcn.ops.convolve_relu_nodes import MOST_NODES


class GCL(nn.Module):
    """Convolution, dense fit of its rectification, reduction, norm: [B, F, N] -> [B, G, min(components, N*F*K)].

    Args:
        in_channels, out_channels: F and G.
        components: of the output; None for no reduction.
        reduction, reduction_options: method and further options of :class:`~gmcn.nn.Reduction`.
        relu_offset, relu_smoothing, rectified: see :class:`~gmcn.nn.ReLUFit`.
        convolve_fit: number of components to which the convolution itself is fitted, before its rectification
            (section 6); None convolves exactly.
        fit_at: number of nodes of the convolution's positive part at which the dense fit is made, see
            :func:`gmcn.ops.convolve_relu_nodes`; None fits at all centres, as the paper does. The reduction then starts
            from the nodes, and a layer that is not reduced (``components`` None) ends with them. Its input must not
            have negative weights.
        divide_by_channels: divide the kernel weights by F, as the authors' later code does: the output is the mean
            over the input channels instead of the sum of section 4. Values then stay of order one at every depth,
            where the sum multiplies them by about ten per layer, and absolute constants (the offset and smoothing
            of the dense fit, the negligible weights of TreeHEM) mean the same in all layers.
        skip: hand the input on as well, reduced in the same way, as F further channels behind the G: section 6's skip
            connection. The norm is over all of them. The input must not have negative weights, except where nothing is
            reduced.
        norm: mode of :class:`~gmcn.nn.MixtureNorm`, or None for no norm.
        norm_weighted, norm_gradient: see :class:`~gmcn.nn.MixtureNorm`.
        **kernel: the options of :class:`~gmcn.nn.GaussianConvolution`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        components: int | None,
        *,
        reduction: str = "treehem2",
        reduction_options: Mapping[str, Any] | None = None,
        relu_offset: float = 0.0,
        relu_smoothing: tuple[float, float] = (0.0, 0.0),
        rectified: Literal["values", "weights"] = "values",
        convolve_fit: int | None = None,
        fit_at: int | None = None,
        divide_by_channels: bool = True,
        skip: bool = False,
        norm: Literal["batch", "instance", "running"] | None = "batch",
        norm_weighted: bool = True,
        norm_gradient: bool = True,
        **kernel: Any,
    ) -> None:
        super().__init__()
        if convolve_fit is not None and convolve_fit < 1:
            raise InputError(f"GCL: convolve_fit is {convolve_fit}; it must be positive, or None to convolve exactly")
        if skip and components is None:
            raise InputError("GCL: skip needs a number of components, to which the input is reduced too")
        if skip and components is not None and min(fit_at or components, convolve_fit or components) < components:
            raise InputError(
                f"GCL: skip needs fit_at and convolve_fit of at least components, which is {components}; they are "
                f"{fit_at} and {convolve_fit}"
            )
        self.out_channels = out_channels + (in_channels if skip else 0)
        self.convolution = GaussianConvolution(in_channels, out_channels, **kernel)
        self.relu_fit = ReLUFit(relu_offset, relu_smoothing, rectified)
        self.reduction = Reduction("none" if components is None else reduction, components, **(reduction_options or {}))
        self.norm = None
        if norm is not None:
            self.norm = MixtureNorm(self.out_channels, mode=norm, weighted=norm_weighted, gradient=norm_gradient)
        self.convolve_fit, self.fit_at, self.divide_by_channels = convolve_fit, fit_at, divide_by_channels
        self.skip = skip
        if fit_at is not None:
            self._check_nodes(fit_at)

    def _check_nodes(self, nodes: int) -> None:
        """InputError unless there can be so many, and the other options leave a fit at nodes possible."""
        relu, reduction = self.relu_fit, self.reduction
        if not 1 <= nodes <= MOST_NODES:
            raise InputError(
                f"GCL: fit_at is {nodes} nodes; it must lie in 1 to {MOST_NODES}, or be None for all centres"
            )
        if self.convolve_fit is not None:
            raise InputError("GCL: fit_at and convolve_fit exclude each other; leave out one of them")
        if relu.offset or any(relu.smoothing):
            raise InputError(
                f"GCL: relu_offset {relu.offset} and relu_smoothing {list(relu.smoothing)} must be 0 where a layer is "
                "fitted at nodes (fit_at): that fit knows no constants"
            )
        if relu.rectified != "values":
            raise InputError(
                f"GCL: rectified '{relu.rectified}' does not go with fit_at, a fit of values; leave out one of them"
            )
        if reduction.method == "none" and reduction.components is not None:
            raise InputError(
                "GCL: reduction 'none' does not go with fit_at, whose nodes are a reduction; choose another one (as "
                "many nodes as components are not reduced again)"
            )

    def stages(
        self,
        mixture: Mixture,  # [B, F, N]
    ) -> tuple[Mixture, Mixture, Mixture]:  # [B, G, convolved], [B, G, fitted], [B, G, components]
        """The mixture after the convolution, after the dense fit and after the reduction; :meth:`onward` ends it.

        The first has N*F*K components, or ``convolve_fit`` where that is set; the second as many, or at most
        ``fit_at``.
        """
        convolved = self._convolve(mixture)
        fitted = self.relu_fit(convolved) if self.fit_at is None else self._fit_at_nodes(mixture, self.fit_at)
        return convolved, fitted, self.reduction(fitted)

    def forward(
        self,
        mixture: Mixture,  # [B, F, N]
    ) -> Mixture:  # [B, G, components], or [B, G + F, components] with skip
        return self.onward(mixture, self._reduced(mixture))

    def onward(
        self,
        mixture: Mixture,  # [B, F, N] the input
        reduced: Mixture,  # [B, G, components] what its stages end with
    ) -> Mixture:  # [B, G, components], or [B, G + F, components] with skip
        """What the next layer is given: with the input beside it where that skips the layer, and normalised."""
        if self.skip:
            reduced = _beside(reduced, self.reduction(mixture))
        return reduced if self.norm is None else self.norm(reduced)

    def _reduced(
        self,
        mixture: Mixture,  # [B, F, N]
    ) -> Mixture:  # [B, G, components]
        node_size = self.reduction.node_size
        if self.fit_at is not None:
            return self.reduction(self._fit_at_nodes(mixture, self.fit_at))
        # Steps of EM look at the dense fit again.
        fitted = self.convolve_fit is None and self.relu_fit.rectified == "values"
        if fitted and node_size is not None and not self.reduction.em_refine:
            return self._reduce_unstored(mixture, self._kernels(mixture), node_size)
        # Not through stages(): a mixture that nobody holds on to can be freed before the next one is made.
        return self.reduction(self.relu_fit(self._convolve(mixture)))

    def _reduce_unstored(
        self,
        mixture: Mixture,  # [B, F, N]
        kernels: Mixture,  # [G, F, K]
        node_size: int,
    ) -> Mixture:  # [B, G, components]
        """The same as through :meth:`stages`, but the convolved mixture is never stored.

        The parts' forward hooks are not called: there are no tensors to show them.
        """
        relu, reduction = self.relu_fit, self.reduction
        weights = ops.convolve_relu_fit(mixture, kernels, offset=relu.offset, smoothing=relu.smoothing)
        wanted = reduction.fitted(weights.shape[-1])
        reduced = ops.convolve_reduce_treehem(weights, mixture, kernels, wanted, node_size, **reduction.merging)
        missing = reduction.kept(weights.shape[-1]) - reduced.components
        if missing == 0:
            return reduced
        # Covariances of a convolution are sums: so are their averages.
        data, kernel = (some.covariances.diagonal(dim1=-2, dim2=-1).mean((1, 2, 3)) for some in (mixture, kernels))
        return pad(reduced, missing, data[:, None] + kernel)  # [B, G]

    def _fit_at_nodes(
        self,
        mixture: Mixture,  # [B, F, N]
        nodes: int,
    ) -> Mixture:  # [B, G, min(nodes, N*F*K)]
        kernels = self._kernels(mixture)
        convolved = mixture.weights.shape[1:].numel() * kernels.components
        return ops.convolve_relu_nodes(mixture, kernels, max(1, min(nodes, convolved)))  # one of no components is empty

    def _kernels(
        self,
        mixture: Mixture,  # [B, F, N]
    ) -> Mixture:  # [G, F, K]
        channels = self.convolution.in_channels
        if mixture.weights.dim() != 3 or mixture.weights.shape[1] != channels:
            shape = list(mixture.weights.shape)
            raise InputError(f"GCL: the weights are {shape}; this layer takes [B, {channels}, N]")
        kernels = self.convolution.kernels()
        return kernels._replace(weights=kernels.weights / channels) if self.divide_by_channels else kernels

    def convolve(
        self,
        mixture: Mixture,  # [B, F, N]
    ) -> Mixture:  # [B, G, N*F*K]
        """The exact convolution, also where the layer goes on with one that is fitted to fewer components."""
        return ops.convolve(mixture, self._kernels(mixture))

    def _convolve(
        self,
        mixture: Mixture,  # [B, F, N]
    ) -> Mixture:  # [B, G, N*F*K] or [B, G, convolve_fit]
        if self.convolve_fit is None:
            return self.convolve(mixture)
        return ops.convolve_fit(mixture, self._kernels(mixture), self.convolve_fit)

    def extra_repr(self) -> str:
        fitted = f"convolve_fit={self.convolve_fit}, fit_at={self.fit_at}"
        return f"{fitted}, divide_by_channels={self.divide_by_channels}, skip={self.skip}"


def _beside(
    one: Mixture,  # [B, G, N]
    other: Mixture,  # [B, F, M], M at most N
) -> Mixture:  # [B, G + F, N]
    """The channels of both, as Gaussians of weight zero fill up what the other one lacks."""
    missing = one.components - other.components
    if missing:
        other = pad(other, missing, other.covariances.diagonal(dim1=-2, dim2=-1).mean((-2, -1)))
    return Mixture(*(torch.cat(pair, 1) for pair in zip(one, other, strict=True)))
