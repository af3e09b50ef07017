"""A layer whose neurons are a Gaussian mixture (after Chewi, Rigollet and Yan, 2025; the equations are ours).

A neuron is a point (w, v): it answers v s(w·x), with w [d + 1] (the last for the bias) and v [o]. The layer is the mean
over a measure of neurons, a mixture of K Gaussians with weights p_k, means (m_w, m_v) and covariances C. In component k
the pre-activation z = w·x is normal, and v given z has a mean that is linear in z, so that (Stein's lemma)

    f(x) = Σ_k p_k [ m_v E s(z) + (C_vw x) E s'(z) ],      z ~ N(m_w·x, xᵀ C_ww x)                               (1)

    E v² s(z)² = m_v² S + 2 m_v (C_vw x) S' + (C_vw x)² S'' + C_vv S,     S = E s(z)², by its derivatives in m_w·x  (2)

C = diag(std²) + Σ_r u_r u_rᵀ is never formed. All three families are this: "diagonal" has no factors u, "low-rank" has
R of them, "full" has d + 1 + o and no diagonal.

Only the abstract of the paper was at hand. (1) is derived from its definitions, (2) and everything else goes beyond it.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gmcn.errors import InputError, unknown
from gmcn.mixture import Diagonal, Full, GaussianMixture, LowRank
from gmcn.nn.activations import activation as activation_of
from gmcn.nn.mean_answer import mean_answer, projected

FAMILIES = ("low-rank", "diagonal", "full")


class GaussianMixtureLayer(nn.Module):
    """Maps [..., in_features] to [..., out_features] as the mean over a mixture of neurons: takes the place of
    ``nn.Sequential(nn.Linear(...), nn.ReLU(), nn.Linear(...))``.

    Args:
        in_features: d.
        out_features: o.
        components: K.
        covariance: "low-rank", a diagonal and ``rank`` factors; "diagonal", of the weights w alone, which leaves a
            network of K neurons with smoothed activations; "full", with d + 1 + o factors.
        rank: number R of factors of "low-rank".
        activation: relu, erf, gelu or linear in closed form, tanh or silu by quadrature.
        bias: of the neurons; without it w is [d].
        deviation: how far components reach at first: standard deviations of w are this over √(d + 1).
        factor_out: standard deviation of the factors' entries for v at first, times √R.
        output_deviation: standard deviation of v by itself. It changes no output and gets no gradient; it does change
            ``variance`` and ``measure``.
        dropout: probability in training that a component is left out; the others then weigh more.
        train_weights: whether the components' weights have a gradient.
        generator: of the initial parameters.

    Raises:
        InputError: for a size, probability or deviation that cannot be, an unknown family or activation.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        components: int,
        covariance: Literal["low-rank", "diagonal", "full"] = "low-rank",
        rank: int = 4,
        activation: str = "relu",
        bias: bool = True,
        *,
        deviation: float = 0.5,
        factor_out: float = 0.5,
        output_deviation: float = 0.0,
        dropout: float = 0.0,
        train_weights: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if covariance not in FAMILIES:
            raise unknown("covariance of a Gaussian mixture layer", covariance, FAMILIES)
        dim = in_features + bias + out_features
        sizes = {"in_features": in_features, "out_features": out_features, "components": components}
        for name, size in {**sizes, **({"rank": rank} if covariance == "low-rank" else {})}.items():
            if not isinstance(size, int) or size < 1:
                raise InputError(f"GaussianMixtureLayer: {name} is {size}; it must be an integer of at least 1")
        if covariance == "low-rank" and rank > dim:
            raise InputError(
                f'GaussianMixtureLayer: rank is {rank}; neurons have only {dim} dimensions, which "full" all has'
            )
        ranges = {"deviation": deviation, "factor_out": factor_out, "output_deviation": output_deviation}
        for name, value in ranges.items():
            if not 0 <= value < math.inf:
                raise InputError(f"GaussianMixtureLayer: {name} is {value}; it must not be negative")
        if not 0 <= dropout < 1:
            raise InputError(f"GaussianMixtureLayer: dropout is {dropout}; it must be a probability below 1")
        if output_deviation and covariance == "full":
            raise InputError("GaussianMixtureLayer: output_deviation is for the other families: factors say it here")
        self.in_features, self.out_features, self.covariance = in_features, out_features, covariance
        self.bias, self.output_deviation, self.dropout = bias, output_deviation, dropout
        self.activation = activation_of(activation)
        inner = in_features + bias
        kind: dict[str, Any] = {"dtype": torch.float32, "device": None if generator is None else generator.device}

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, **kind)

        means = draw(components, dim)
        means[:, :inner] *= math.sqrt(2 / inner)
        reach = torch.full((dim,), deviation / math.sqrt(inner), **kind)
        reach[inner:] = factor_out
        stds: Tensor | None = reach[:inner].expand(components, inner).clone()
        if covariance == "full":
            stds, factors = None, torch.diag(reach).expand(components, dim, dim).clone()
        else:
            rank = rank if covariance == "low-rank" else 0
            factors = draw(components, rank, dim) * reach / math.sqrt(max(1, rank))
        self.logits = _parameter(torch.zeros(components, **kind), trained=train_weights)  # [K]
        self.means = _parameter(means)  # [K, d + 1 + o]
        self.stds = None if stds is None else _parameter(stds)  # [K, d + 1]
        self.factors = _parameter(factors)  # [K, R, d + 1 + o]

    @property
    def components(self) -> int:
        """K."""
        return self.logits.shape[0]

    @property
    def inner(self) -> int:
        """Length of w: d, and one more with a bias."""
        return self.in_features + self.bias

    def forward(
        self,
        x: Tensor,  # [..., d]
    ) -> Tensor:  # [..., o]
        """Equation (1)."""
        rows = self._rows(x)
        flat = rows if rows.ndim == 2 else rows.reshape(-1, self.inner)  # views cost a small layer time
        output = mean_answer(flat, self._weights(), self.means, self.stds, self.factors, self.activation)
        return output if rows.ndim == 2 else output.view(*x.shape[:-1], self.out_features)

    def variance(
        self,
        x: Tensor,  # [..., d]
    ) -> Tensor:  # [..., o]
        """Variance of the output of one neuron that is drawn from the measure: exact where the activation is closed.

        tanh and silu have the error of their quadrature, which grows with the deviation (docs/gm_layers.md).
        That of :meth:`to_mlp`'s network of n neurons is 1 / n of it. Memory K o for each x.
        """
        with torch.autocast(x.device.type, enabled=False):  # a difference of squares needs the digits
            mean, variance, along = given = self.pre_activations(x.to(self.means))
            zeroth, first, second = self.activation.second(mean, variance)
            out, cross = self.means[:, self.inner :], self._crossed(along)
            own = out.square() + self.factors[..., self.inner :].square().sum(1) + self.output_deviation**2
            squares = zeroth[..., None] * own + cross * (2 * first[..., None] * out + second[..., None] * cross)
            weights = self.logits.softmax(0)
            return (weights @ squares - (weights @ self._answers(*given)).square()).clamp(min=0)

    def answers(
        self,
        x: Tensor,  # [..., d]
    ) -> Tensor:  # [..., K, o]
        """What each component answers: the terms of equation (1) without their weights. Memory K o for each x."""
        return self._answers(*self.pre_activations(x))

    def _answers(self, mean: Tensor, variance: Tensor, along: Tensor) -> Tensor:
        first, slope = self.activation.moments(mean, variance)
        return first[..., None] * self.means[:, self.inner :] + slope[..., None] * self._crossed(along)

    def pre_activations(
        self,
        x: Tensor,  # [..., d]
    ) -> tuple[Tensor, Tensor, Tensor]:  # [..., K], [..., K], [..., K, R]
        """Mean and variance of w·x in each component, and uᵀx of each factor."""
        return projected(self._rows(x), self.means, self.stds, self.factors)

    def _crossed(self, along: Tensor) -> Tensor:  # [..., K, R] -> [..., K, o]
        """C_vw x."""
        return torch.einsum("...kr,kro->...ko", along, self.factors[..., self.inner :])

    def _rows(self, x: Tensor) -> Tensor:  # [..., d + 1]
        """The input, and 1 for the bias."""
        if x.shape[-1] != self.in_features:
            raise InputError(
                f"GaussianMixtureLayer: the input is {list(x.shape)}; this layer takes [..., {self.in_features}]"
            )
        return torch.cat((x, x.new_ones(*x.shape[:-1], 1)), -1) if self.bias else x

    def _weights(self) -> Tensor:  # [K]
        """The components' weights; in training some of them are dropped, and the others weigh more."""
        weights = self.logits.softmax(0)
        if self.dropout and self.training:
            weights = nn.functional.dropout(weights, self.dropout)
        return weights

    def flow_parameters(self) -> list[Tensor]:
        """The logits, then what moves with the components: a group of :class:`gmcn.optim.WassersteinSGD`."""
        own: list[Tensor] = [self.logits, self.means, self.factors]
        return own if self.stds is None else [*own, self.stds]

    def measure(self) -> GaussianMixture:
        """The measure over neurons (w, v), in d + 1 + o dimensions, without gradients through clamped deviations.

        A density has no deviation of zero: those below 1e-6 are 1e-6, and "full" has 1e-6 more in every direction.
        """
        if self.stds is None:
            one = torch.eye(self.means.shape[1], dtype=self.factors.dtype, device=self.factors.device)
            least = 1e-6 * one.expand(self.components, -1, -1)
            return GaussianMixture(self.logits, self.means, Full.from_root(torch.cat((self.factors.mT, least), 2)))
        stds = self.deviations().abs().clamp(min=1e-6)
        covariance = LowRank(stds, self.factors.mT) if self.factors.shape[1] else Diagonal(stds)
        return GaussianMixture(self.logits, self.means, covariance)

    def deviations(self) -> Tensor:  # [K, d + 1 + o]
        """Standard deviations of the diagonal, those of v among them; zero for "full"."""
        if self.stds is None:
            return torch.zeros_like(self.means)
        return torch.cat(
            (self.stds, self.stds.new_full((self.components, self.out_features), self.output_deviation)), 1
        )

    def spread(
        self,
        component: int,
        noise: Tensor,  # [n, D + R], standard normal
    ) -> Tensor:  # [n, D]
        """How far from the mean of a component the neurons are that this noise makes."""
        dim = self.means.shape[1]
        return noise[:, :dim] * self.deviations()[component] + noise[:, dim:] @ self.factors[component]

    @torch.no_grad()
    def sample(
        self,
        n: int,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:  # [n, d + 1], [n, o]
        """``n`` independent neurons (w, v), in an order of components that is random too. InputError unless n >= 1."""
        if not isinstance(n, int) or n < 1:
            raise InputError(f"GaussianMixtureLayer: n is {n}; a network has at least 1 neuron")
        own: dict[str, Any] = {"generator": generator, "device": generator.device, "dtype": torch.float64}
        heights = self.logits.softmax(0).to(generator.device, torch.float64)
        drawn = torch.multinomial(heights, n, replacement=True, generator=generator).to(self.means.device)
        neurons, width = self.means[drawn], self.means.shape[1] + self.factors.shape[1]
        for component in drawn.unique().tolist():  # by one, for few copies of factors
            places = (drawn == component).nonzero()[:, 0]
            noise = torch.randn(len(places), width, **own).to(self.means)
            neurons[places] += self.spread(component, noise)
        return neurons[:, : self.inner], neurons[:, self.inner :]

    def to_mlp(
        self,
        n: int,
        generator: torch.Generator,
    ) -> nn.Sequential:
        """A finite two-layer network of ``n`` neurons drawn from the measure: its mean output is this layer's, its
        variance is :meth:`variance` / n.
        """
        inner, outer = self.sample(n, generator)
        first = nn.Linear(self.in_features, n, bias=self.bias).to(inner)
        second = nn.Linear(n, self.out_features, bias=False).to(inner)
        with torch.no_grad():
            first.weight.copy_(inner[:, : self.in_features])
            if self.bias:
                first.bias.copy_(inner[:, -1])
            second.weight.copy_(outer.mT / n)
        return nn.Sequential(first, _Called(self.activation.name), second)

    def extra_repr(self) -> str:
        rank = f", rank={self.factors.shape[1]}" if self.covariance == "low-rank" else ""
        return (
            f"{self.in_features}, {self.out_features}, {self.components}, covariance={self.covariance!r}{rank}, "
            f"activation={self.activation.name!r}, bias={self.bias}"
        )


class _Called(nn.Module):
    """An activation as a module."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        return activation_of(self.name)(x)

    def extra_repr(self) -> str:
        return self.name


def _parameter(initial: Tensor, trained: bool = True) -> nn.Parameter:
    """On torch's default device and in its default dtype, as in torch's own modules."""
    return nn.Parameter(initial.to(torch.get_default_device(), torch.get_default_dtype()), trained)
