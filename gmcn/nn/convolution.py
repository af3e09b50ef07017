"""Convolution with learned kernels that are themselves mixtures, sections 3, 4.2 and 5."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gmcn import ops
from gmcn.errors import InputError, unknown
from gmcn.mixture import Mixture
from gmcn.precision import full_precision

# The mean of the kernel weights is an offset and no part of the parameter: weight decay pulls a weight towards it.
WEIGHT_MEAN = 0.1
FACTOR_NOISE = 0.05  # of the initial covariance factors


class GaussianConvolution(nn.Module):
    """Sums, for each of G output channels, the F input channels convolved with one kernel mixture each.

    Maps a mixture [B, F, N] to [B, G, N*F*K]. A kernel component has a weight ``raw_weights + 0.1``, a position
    ``raw_positions * radius`` and the covariance ``(C'ᵀC' + e I) (radius / 3)²`` of equation (9), C' being its
    ``covariance_factors``. e is ``epsilon`` times the largest absolute entry of C'ᵀC', at least 1, and so bounds
    the ratio of its axes. With ``epsilon_scope="layer"`` that entry is the largest of all components, as in the
    authors' code, where one wide component widens all the others.

    The initial covariance is about 0.73 I at the default radius. Weights are drawn from a normal distribution;
    component 0 sits at the origin, the others at the distance ``radius``: evenly on a circle in 2D, at random in
    3D.

    Raises:
        InputError: for sizes that are not positive, a dimension that is not 2 or 3, an unknown ``epsilon_scope``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_components: int = 5,
        dim: int = 3,
        radius: float = 2.5,
        epsilon: float = 0.05,
        epsilon_scope: Literal["component", "layer"] = "component",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if dim not in (2, 3):
            raise InputError(f"GaussianConvolution: dim is {dim}; it must be 2 or 3")
        if min(in_channels, out_channels, kernel_components) < 1 or radius <= 0 or epsilon <= 0:
            raise InputError(
                f"GaussianConvolution: in_channels {in_channels}, out_channels {out_channels}, kernel_components "
                f"{kernel_components}, radius {radius} and epsilon {epsilon} must all be positive"
            )
        if epsilon_scope not in ("component", "layer"):
            raise unknown("epsilon_scope", epsilon_scope, ("component", "layer"))
        self.in_channels, self.out_channels, self.dim = in_channels, out_channels, dim
        self.radius, self.epsilon, self.epsilon_scope = radius, epsilon, epsilon_scope
        shape = (out_channels, in_channels, kernel_components)
        # On the generator's device and in float32: a seed gives the same numbers whatever torch's defaults are.
        kind: dict[str, Any] = {"dtype": torch.float32, "device": None if generator is None else generator.device}
        noise = 2 * torch.rand(*shape, dim, dim, generator=generator, **kind) - 1
        self.raw_weights = _parameter(torch.randn(shape, generator=generator, **kind))  # [G, F, K]
        self.raw_positions = _parameter(_initial_positions(shape, dim, generator, kind))  # [G, F, K, D]
        self.covariance_factors = _parameter(torch.eye(dim, **kind) + FACTOR_NOISE * noise)  # [G, F, K, D, D]

    def kernels(self) -> Mixture:  # [G, F, K]
        """The kernel mixtures, in the parameters' precision also under autocast."""
        gram = self._gram()
        over = (-2, -1) if self.epsilon_scope == "component" else tuple(range(gram.dim()))
        largest = gram.detach().abs().amax(over, keepdim=True).clamp(min=1.0)
        identity = torch.eye(self.dim, dtype=gram.dtype, device=gram.device)
        return Mixture(
            self.raw_weights + WEIGHT_MEAN,
            self.raw_positions * self.radius,
            (gram + self.epsilon * largest * identity) * (self.radius / 3) ** 2,
        )

    def forward(
        self,
        mixture: Mixture,  # [B, F, N]
    ) -> Mixture:  # [B, G, N*F*K]
        return ops.convolve(mixture, self.kernels())

    def decay_loss(self) -> Tensor:  # []
        """Equation (8), averaged, with ``raw_weights`` as the weights and C'ᵀC' as the covariances."""
        return self.raw_weights.square().mean() + self._excess().square().mean()

    @torch.no_grad()
    def decay_(self, step: float) -> None:
        """One step of gradient descent on :meth:`decay_loss`: weight decay decoupled from the optimiser."""
        gradient = _product(self.covariance_factors, self._excess())
        self.raw_weights.sub_(2 * step / self.raw_weights.numel() * self.raw_weights)
        self.covariance_factors.sub_(4 * step / self.covariance_factors.numel() * gradient)

    def _gram(self) -> Tensor:  # [G, F, K, D, D]
        return _product(self.covariance_factors.mT, self.covariance_factors)

    def _excess(self) -> Tensor:  # [G, F, K, D, D]
        """C'ᵀC' - I."""
        return self._gram() - torch.eye(self.dim, dtype=self.raw_weights.dtype, device=self.raw_weights.device)

    def extra_repr(self) -> str:
        components = self.raw_weights.shape[-1]
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_components={components}, dim={self.dim}, "
            f"radius={self.radius}, epsilon={self.epsilon}, epsilon_scope={self.epsilon_scope!r}"
        )


@full_precision
def _product(first: Tensor, second: Tensor) -> Tensor:
    return first @ second


def _parameter(initial: Tensor) -> nn.Parameter:
    """A parameter on torch's default device and in its default dtype, as in torch's own modules."""
    return nn.Parameter(initial.to(torch.get_default_device(), torch.get_default_dtype()))


def _initial_positions(
    shape: tuple[int, int, int],
    dim: int,
    generator: torch.Generator | None,
    kind: dict[str, Any],
) -> Tensor:  # [G, F, K, D] in units of the radius
    """Component 0 at the origin, the others on the unit circle or sphere."""
    if dim == 2:
        others = shape[-1] - 1
        angles = 2 * math.pi / max(others, 1) * torch.arange(others, **kind)
        circle = torch.stack((angles.sin(), angles.cos()), -1)
        # Rounding of sin(pi) and the like would leave the axes by 1e-7.
        positions = torch.cat((torch.zeros(1, 2, **kind), torch.where(circle.abs() < 1e-6, 0.0, circle)))
        return positions.expand(*shape, dim).clone()
    positions = torch.nn.functional.normalize(torch.randn(*shape, dim, generator=generator, **kind), dim=-1)
    positions[..., 0, :] = 0
    return positions
