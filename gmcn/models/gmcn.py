"""Gaussian mixture convolution network (Celarek et al., ICLR 2022), the classifier of figure 4.

    mixture [B, N] -> norm of the input
      -> blocks: convolution with kernel mixtures -> dense fit of the ReLU -> reduction -> spatial norm
      -> one more convolution and dense fit with a channel per class
      -> integral of each channel -> batch normalisation (-> head) -> logits [B, classes]

Nothing in it looks at where a mixture is: convolution moves with its input and the integral forgets positions, so
that logits are invariant to translation. The spatial norm adds invariance to scale. With ``size`` (ours), how
likely the shape's size is in each class is added to the logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from gmcn import ops
from gmcn.declared import DERIVED, above, at_least, at_most, matching
from gmcn.errors import InputError
from gmcn.mixture import Mixture
from gmcn.models.heads import Head, Sizes
from gmcn.models.heads import head as make_head
from gmcn.models.network import Classes, Dim, InitialSeed, Network, seeded
from gmcn.nn import GCL, BatchNorm, GaussianConvolution, mean_activation, rescale
from gmcn.nn.norm import mean_variance
from gmcn.ops.convolve_relu_nodes import MOST_NODES

Positive = Annotated[int, at_least(1), "Channels, then Gaussians."]
Constant = Annotated[float, at_least(0), "One of the two constants."]


class GMCN(Network):
    """The paper's network (figure 4 and section 5), which classifies Gaussian mixtures.

    The paper's five layers on 128 Gaussians are ``layers=((8, 64), (16, 32), (32, 16), (64, 8))``: each block halves
    the components. The last layer, to the classes, has one channel per class and is never reduced. While the constants
    of the dense fit are zero the network is positively homogeneous, and the scale of its weights is without consequence
    up to the final normalisation.

    Raises:
        InputError: for an option that does not exist, or an input of the wrong dimension or number of channels.
    """

    retired: ClassVar = {"readout": "integral"}  # the only read-out that there was

    def __init__(
        self,
        layers: Annotated[
            Sequence[tuple[Positive, Positive]],
            "Inner layers as [channels, Gaussians after the reduction]; the last layer to classes is implied.",
        ],
        classes: Classes,
        dim: Dim = 3,
        *,
        in_channels: Annotated[int, at_least(1), DERIVED, "Channels of the input."] = 1,
        kernel_components: Annotated[int, at_least(1), "Gaussians per kernel (K)."] = 5,
        kernel_radius: Annotated[
            float, above(0), "Distance of the kernels' Gaussians from their centre, at first."
        ] = 2.5,
        epsilon_scope: Annotated[
            Literal["component", "layer"],
            "Whether equation (9)'s epsilon is scaled per Gaussian or per layer, as in the authors' code.",
        ] = "component",
        reduction: Annotated[
            str,
            matching("^(treehem[1-8]|em|none)$"),
            "How a layer gets back to few Gaussians: treehem<T>, em (the modified EM of section 4.1), none; T to 8.",
        ] = "treehem2",
        reduction_count: Annotated[
            Literal["exact", "authors"],
            "Whether TreeHEM<T> fits all n Gaussians of a layer (exact), or n - T and pads with zeros, as the authors' "
            "code does.",
        ] = "exact",
        kl_threshold: Annotated[
            float | None,
            at_least(0),
            "Kullback-Leibler divergence from which on TreeHEM does not merge two Gaussians; null: no such gate.",
        ] = 0.5,
        virtual_samples: Annotated[
            float, at_least(0), "Samples that a tree node of TreeHEM stands for: more make harder assignments."
        ] = 4.0,
        em_refine: Annotated[
            int,
            at_least(0),
            "Steps of expectation maximisation on the dense fit after a reduction (section 6's conjecture).",
        ] = 0,
        relu_offset: Annotated[float, at_least(0), "Added to the clipped weights in equation (6)."] = 0.0,
        relu_smoothing: Annotated[tuple[Constant, Constant], "Added to numerator and denominator of equation (7)."] = (
            0.0,
            0.0,
        ),
        rectified: Annotated[
            Literal["values", "weights"],
            "What the ReLU is of: the mixture's values, by the dense fit, or only its weights (appendix G).",
        ] = "values",
        convolve_fit: Annotated[
            int | None,
            at_least(1),
            "Fused convolution-fitting of section 6 to this multiple of a layer's Gaussians (2 in appendix A, "
            "table 5); null: exact convolution, as in the paper's results.",
        ] = None,
        fit_at: Annotated[
            int | None,
            at_least(1),
            "Make the dense fit at few nodes of a convolution, this multiple of a layer's Gaussians, to which they are "
            "then reduced; null: at all centres, as the paper does.",
        ] = None,
        fit_at_last: Annotated[
            int, at_least(1), at_most(MOST_NODES), "Nodes of the last layer, which is not reduced (fit_at)."
        ] = 64,
        fit_at_least: Annotated[
            int, at_least(1), at_most(MOST_NODES), "Nodes that the other layers have at least (fit_at)."
        ] = 16,
        divide_by_channels: Annotated[bool, "Divide a convolution's weights by its input channels."] = True,
        skip: Annotated[
            bool, "Hand each inner layer's input on beside its output, as further channels (section 6)."
        ] = False,
        norm: Annotated[
            Literal["batch", "instance", "running"],
            "Statistics of the normalisation: of the batch, of each shape, or running ones also in training.",
        ] = "batch",
        norm_weighted: Annotated[bool, "Weigh a Gaussian's covariance by its weight in those statistics."] = True,
        norm_gradient: Annotated[bool, "Whether gradients flow through the scale of the normalisation."] = True,
        head: Annotated[
            Head | None,
            "What classifies the integrals of the last layer's channels; null: the integrals of one channel per class "
            "are the logits, as in the paper.",
        ] = None,
        head_channels: Annotated[int, at_least(1), "Channels of the last layer where there is a head."] = 32,
        size: Annotated[
            float,
            at_least(0),
            "The log-density of a shape's size among a class's training objects, in the data's units, is added to the "
            "class's logit this many times, in evaluation; 0: sizes are not looked at, as in the paper.",
        ] = 0.0,
        seed: InitialSeed = None,
    ) -> None:
        super().__init__()
        self.dim, self.in_channels, self.classes = dim, in_channels, classes

        every_block: dict[str, Any] = {
            "reduction": reduction,
            "reduction_options": {
                "count": reduction_count,
                "kl_threshold": kl_threshold,
                "virtual_samples": virtual_samples,
                "em_refine": em_refine,
            },
            "relu_offset": relu_offset,
            "relu_smoothing": tuple(relu_smoothing),
            "rectified": rectified,
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

        def at(components: int | None) -> int | None:
            return nodes(components, fit_at, fit_at_last, fit_at_least)

        blocks, channels, halved = [], in_channels, 1
        for width, components in layers:
            fits = every_block | {"convolve_fit": convolved(components), "fit_at": at(components)}
            blocks.append(GCL(channels, width, components, norm=norm, skip=skip, **fits))
            channels, halved = blocks[-1].out_channels, max(1, components // 2)
        # No norm at the end: the integral does not change with the scale of space. Where convolutions are fitted,
        # the last one is fitted as if it halved the components once more.
        fits = every_block | {"convolve_fit": convolved(halved), "fit_at": at(None)}
        last = classes if head is None else head_channels
        blocks.append(GCL(channels, last, None, norm=None, **fits))
        self.blocks = nn.ModuleList(blocks)
        self.output_norm = BatchNorm(last)
        self.size, self.sizes = size, Sizes(classes) if size else None
        with seeded(seed, self):
            self.head = nn.Identity() if head is None else make_head(head, last, classes)

    def normalize_input(
        self,
        mixture: Mixture,  # [B, N] or [B, F, N]
    ) -> Mixture:  # [B, F, N]
        """Centre of mass at the origin and variance one of every sample, average activation one of each channel.

        Deterministic and in closed form: where the authors' code samples random points to normalise the
        activation, :func:`~gmcn.nn.mean_activation` integrates.
        """
        if isinstance(mixture, Tensor):
            raise InputError(
                f"GMCN: the input is a tensor {list(mixture.shape)}, but this network takes mixtures; fit them to "
                "points by gmcn.fitting.fit_points"
            )
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
        mixture = mixture._replace(weights=mixture.weights / _above_zero(mean_activation(mixture)[..., None]))
        return mixture.to(self.dtype)  # fits of float64 points are float64

    def forward(
        self,
        mixture: Mixture,  # [B, N] or [B, F, N]
    ) -> Tensor:  # [B, classes]
        """Logits; the softmax belongs to the loss."""
        given, mixture = mixture, self.normalize_input(mixture)
        for block in self.blocks:
            mixture = block(mixture)
        logits = self.head(self.output_norm(ops.integrate(mixture)))
        return logits if self.sizes is None or self.training else logits + self.size * self.sizes(given)

    def start_(self, inputs: Mixture, seed: int, labels: Tensor | None = None) -> None:
        """Learn how large the objects of each class are, where that is asked for."""
        if self.sizes is not None and labels is not None:
            self.sizes.learn_(inputs, labels, seed)

    def kernel_decay_loss(self) -> Tensor:  # []
        """Equation (8), summed over the layers."""
        return torch.stack([convolution.decay_loss() for convolution in self._convolutions()]).sum()

    def decay_kernels_(self, step: float) -> None:
        """One step of gradient descent on :meth:`kernel_decay_loss`, in place and without autograd."""
        for convolution in self._convolutions():
            convolution.decay_(step)

    def _convolutions(self) -> Iterator[GaussianConvolution]:
        return (module for module in self.blocks.modules() if isinstance(module, GaussianConvolution))

    def parameter_counts(self) -> dict[str, int]:
        """All parameters, and ``kernel_parameters``, those of the convolutions' kernels."""
        kernels = sum(parameter.numel() for parameter in self.blocks.parameters())
        fitted = 0 if self.sizes is None else sum(buffer.numel() for buffer in self.sizes.buffers())
        trained = super().parameter_counts()["parameters"]
        return {"parameters": trained + fitted, "kernel_parameters": kernels}

    def after_step_(self, rate: float, kernel_decay: float) -> None:
        """The kernel decay, with the same learning rate, decoupled from the optimiser as in the authors' code."""
        if kernel_decay:
            self.decay_kernels_(rate * kernel_decay)


def nodes(components: int | None, fit_at: int | None, fit_at_last: int, fit_at_least: int) -> int | None:
    """Those at which a layer with so many Gaussians fits (None: the last layer), or None for all centres."""
    if fit_at is None:
        return None
    return fit_at_last if components is None else max(fit_at * components, fit_at_least)


def _above_zero(tensor: Tensor) -> Tensor:
    """A divisor that leaves an empty channel zero instead of making it not-a-number."""
    return tensor.clamp(min=torch.finfo(tensor.dtype).tiny)
