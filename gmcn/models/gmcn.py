"""Gaussian mixture convolution network (Celarek et al., ICLR 2022), the classifier of figure 4.

    mixture [B, N] -> norm of the input
      -> blocks: convolution with kernel mixtures -> dense fit of the ReLU -> reduction -> spatial norm
      -> one more convolution and dense fit with a channel per class
      -> integral of each channel -> batch normalisation -> logits [B, classes]

Nothing in it looks at where a mixture is: convolution moves with its input and the integral forgets positions, so
that logits are invariant to translation. The spatial norm adds invariance to scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gmcn import ops
from gmcn.errors import InputError, unknown
from gmcn.mixture import Mixture
from gmcn.models.network import Network
from gmcn.nn import GCL, BatchNorm, mean_activation, rescale
from gmcn.nn.norm import mean_variance


class GMCN(Network):
    """Classifies Gaussian mixtures.

    Args:
        layers: (channels, components) of each block's output. The paper's five-layer network on 128 Gaussians has
            ((8, 64), (16, 32), (32, 16), (64, 8)): each block halves the components. The last layer, to the
            classes, is not listed: it has one channel per class and is never reduced.
        classes: number of classes.
        dim: 2 or 3.
        in_channels: channels of the input.
        kernel_components, kernel_radius: K and the initial distance of kernel components from the origin.
        epsilon_scope: see :class:`~gmcn.nn.GaussianConvolution`.
        reduction: "treehem<T>", "em" or "none".
        reduction_count, kl_threshold, virtual_samples: of TreeHEM; count, divergence and samples of
            :class:`~gmcn.nn.Reduction`.
        em_refine: steps of expectation-maximisation after a reduction, which section 6 conjectures to help; see
            :func:`gmcn.ops.refine_em`.
        relu_offset, relu_smoothing: constants of the dense fit. While they are zero the network is positively
            homogeneous, and the scale of its weights is without consequence up to the final normalisation.
        convolve_fit: fit the convolutions to this multiple of a block's components before they are rectified
            (section 6; 2 is the ratio of appendix A, table 5). None convolves exactly, as the paper's results do.
        divide_by_channels: mean instead of sum over input channels, see :class:`~gmcn.nn.GCL`.
        norm, norm_weighted, norm_gradient: mode, ``weighted`` and ``gradient`` of :class:`~gmcn.nn.MixtureNorm`.
        readout: "integral".
        seed: of the initial parameters; None draws them from torch's global generator.

    Raises:
        InputError: for an option that does not exist, or an input of the wrong dimension or number of channels.
    """

    def __init__(
        self,
        layers: Sequence[Sequence[int]],
        classes: int,
        dim: int = 3,
        *,
        in_channels: int = 1,
        kernel_components: int = 5,
        kernel_radius: float = 2.5,
        epsilon_scope: Literal["component", "layer"] = "component",
        reduction: str = "treehem2",
        reduction_count: Literal["exact", "authors"] = "exact",
        kl_threshold: float | None = 0.5,
        virtual_samples: float = 4.0,
        em_refine: int = 0,
        relu_offset: float = 0.0,
        relu_smoothing: Sequence[float] = (0.0, 0.0),
        convolve_fit: int | None = None,
        divide_by_channels: bool = True,
        norm: Literal["batch", "instance", "running"] = "batch",
        norm_weighted: bool = True,
        norm_gradient: bool = True,
        readout: Literal["integral"] = "integral",
        seed: int | None = None,
    ) -> None:
        # Everything that builds the same network again, in types that JSON has.
        self.config: dict[str, Any] = {
            key: value for key, value in locals().items() if key not in ("self", "__class__")
        }
        super().__init__()
        if any(len(layer) != 2 or min(layer) < 1 for layer in layers):
            raise InputError(f"GMCN: layers are {list(layers)}; each must be (channels, components), both positive")
        if classes < 1:
            raise InputError(f"GMCN: classes is {classes}; it must be positive")
        if readout != "integral":
            raise unknown("read-out", readout, ("integral",))
        self.config |= {"layers": [list(layer) for layer in layers], "relu_smoothing": list(relu_smoothing)}
        self.dim, self.in_channels, self.classes = dim, in_channels, classes

        every_block = {
            "reduction": reduction,
            "reduction_options": {
                "count": reduction_count,
                "kl_threshold": kl_threshold,
                "virtual_samples": virtual_samples,
                "em_refine": em_refine,
            },
            "relu_offset": relu_offset,
            "relu_smoothing": tuple(relu_smoothing),
            "divide_by_channels": divide_by_channels,
            "norm_weighted": norm_weighted,
            "norm_gradient": norm_gradient,
            "kernel_components": kernel_components,
            "dim": dim,
            "radius": kernel_radius,
            "epsilon_scope": epsilon_scope,
            "generator": None if seed is None else torch.Generator().manual_seed(seed),
        }

        def convolved(components: int) -> int | None:
            return None if convolve_fit is None else convolve_fit * components

        blocks, channels, halved = [], in_channels, 1
        for width, components in layers:
            blocks.append(
                GCL(channels, width, components, convolve_fit=convolved(components), norm=norm, **every_block)
            )
            channels, halved = width, max(1, components // 2)
        # No norm at the end: the integral does not change with the scale of space. Where convolutions are fitted,
        # the last one is fitted as if it halved the components once more.
        blocks.append(GCL(channels, classes, None, convolve_fit=convolved(halved), norm=None, **every_block))
        self.blocks = nn.ModuleList(blocks)
        self.output_norm = BatchNorm(classes)

    def normalize_input(
        self,
        mixture: Mixture,  # [B, N] or [B, F, N]
    ) -> Mixture:  # [B, F, N]
        """Centre of mass at the origin, average variance one, average activation one, for every sample and channel.

        Deterministic and in closed form: where the authors' code samples random points to normalise the
        activation, :func:`~gmcn.nn.mean_activation` integrates.
        """
        if mixture.weights.dim() == 2:
            mixture = mixture.map(lambda tensor: tensor.unsqueeze(1))
        expected = (self.in_channels, self.dim)
        if mixture.weights.dim() != 3 or (mixture.weights.shape[1], mixture.dim) != expected:
            raise InputError(
                f"GMCN: the input's positions are {list(mixture.positions.shape)}; this network takes "
                f"[B, {self.in_channels}, N, {self.dim}]"
            )
        masses = mixture.weights.abs()
        masses = masses / _above_zero(masses.sum(-1, keepdim=True))
        # Logits do not depend on the centre, but float32 does: distances lose digits far out. One centre for all
        # channels keeps them registered.
        centre = (masses[..., None] * mixture.positions).sum(-2, keepdim=True).mean(1, keepdim=True)
        mixture = mixture._replace(positions=mixture.positions - centre)
        mixture = rescale(mixture, mean_variance(mixture, (1, 2), weighted=True).rsqrt()[:, None])
        return mixture._replace(weights=mixture.weights / _above_zero(mean_activation(mixture)[..., None]))

    def forward(
        self,
        mixture: Mixture,  # [B, N] or [B, F, N]
    ) -> Tensor:  # [B, classes]
        """Logits; the softmax belongs to the loss."""
        mixture = self.normalize_input(mixture)
        for block in self.blocks:
            mixture = block(mixture)
        return self.output_norm(ops.integrate(mixture))

    def kernel_decay_loss(self, aggregate: Literal["mean", "channel", "sum"] = "mean") -> Tensor:  # []
        """Equation (8), summed over the layers."""
        return torch.stack([block.convolution.decay_loss(aggregate) for block in self.blocks]).sum()

    def decay_kernels_(self, step: float, aggregate: Literal["mean", "channel", "sum"] = "mean") -> None:
        """One step of gradient descent on :meth:`kernel_decay_loss`, in place and without autograd."""
        for block in self.blocks:
            block.convolution.decay_(step, aggregate)

    def parameter_counts(self) -> dict[str, int]:
        """Of them ``kernel_parameters``, those of the convolutions' kernels."""
        kernels = sum(parameter.numel() for parameter in self.blocks.parameters())
        return {**super().parameter_counts(), "kernel_parameters": kernels}

    def after_step_(self, rate: float, kernel_decay: float) -> None:
        """The kernel decay, with the same learning rate, decoupled from the optimiser as in the authors' code."""
        if kernel_decay:
            self.decay_kernels_(rate * kernel_decay)


def _above_zero(tensor: Tensor) -> Tensor:
    """A divisor that leaves an empty channel zero instead of making it not-a-number."""
    return tensor.clamp(min=torch.finfo(tensor.dtype).tiny)
