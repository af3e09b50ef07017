"""Expectations of activations of a normal variable, E s(z) for z ~ N(mean, variance): what a mixture layer needs.

Every activation answers three questions. ``self(x)`` is s(x) itself. ``moments`` are E s and E s', by which an output
and its covariance with the input are known (Stein's lemma: cov(z, s(z)) = variance E s'). ``second`` are E s² and its
first two derivatives by the mean, by which the variance of a neuron's output is known. With t = mean / deviation, and
Φ, φ the normal distribution and density:

    relu    E s = mean Φ(t) + deviation φ(t),     E s' = Φ(t)
    erf     E s = erf(mean / √(1 + 2 variance))
    gelu    E s = mean Φ(h) + variance φ(h) / √(1 + variance),  h = mean / √(1 + variance)
    linear  E s = mean
    tanh and silu by Gauss and Hermite's rule; its error grows with the deviation (docs/gm_layers.md).

The second moments of erf and gelu are Owen's T function of their argument (Owen, 1956), because E Φ(z)² is the
probability that two correlated normal variables are both below it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.special import ndtr

from gmcn.errors import unknown
from gmcn.ops.reference.layer_moments import MOMENTS, deviation_of, normal_density

Pair = tuple[Tensor, Tensor]
Triple = tuple[Tensor, Tensor, Tensor]

NODES = 32  # of Gauss and Hermite's rule
OWEN_NODES = 40  # of Gauss and Legendre's, for Owen's function: 1e-15


class Activation:
    """An activation by its name; see the module."""

    closed = True  # whether its moments are in closed form, those of gmcn.ops.layer_moments

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, x: Tensor) -> Tensor:
        """s(x)."""
        raise NotImplementedError

    def moments(self, mean: Tensor, variance: Tensor) -> Pair:
        """E s(z) and E s'(z), of the shape of both arguments."""
        return MOMENTS[self.name](mean, variance)

    def second(self, mean: Tensor, variance: Tensor) -> Triple:
        """E s(z)², and its first and second derivatives by the mean."""
        raise NotImplementedError


class Linear(Activation):
    """s(x) = x."""

    def __call__(self, x: Tensor) -> Tensor:
        return x

    def second(self, mean: Tensor, variance: Tensor) -> Triple:
        return mean.square() + variance, 2 * mean, torch.full_like(mean, 2.0)


class ReLU(Activation):
    """s(x) = max(0, x)."""

    def __call__(self, x: Tensor) -> Tensor:
        return x.relu()

    def second(self, mean: Tensor, variance: Tensor) -> Triple:
        first, below = self.moments(mean, variance)
        return mean * first + variance * below, 2 * first, 2 * below


class Erf(Activation):
    """s(x) = erf(x)."""

    def __call__(self, x: Tensor) -> Tensor:
        return x.erf()

    def second(self, mean: Tensor, variance: Tensor) -> Triple:
        shrink = math.sqrt(2) * (1 + 2 * variance).rsqrt()
        h, a = mean * shrink, (1 + 4 * variance).rsqrt()
        inner, outer = (a * h / math.sqrt(2)).erf(), normal_density(h)
        slope = 4 * shrink * outer * inner
        curve = 4 * shrink.square() * outer * (2 * a * normal_density(a * h) - h * inner)
        return 1 - 8 * owen(h, a), slope, curve


class GELU(Activation):
    """s(x) = x Φ(x)."""

    def __call__(self, x: Tensor) -> Tensor:
        return torch.nn.functional.gelu(x)

    def second(self, mean: Tensor, variance: Tensor) -> Triple:
        # E z² q(z) = (m² + v) Q + 2 m v Q' + v² Q'' for Q = E q(z) by its derivatives in the mean; here q = Φ².
        shrink = (1 + variance).rsqrt()
        h, a = mean * shrink, (1 + 2 * variance).rsqrt()
        f0 = 2 * normal_density(h) * ndtr(a * h)  # dQ / dh
        both = 2 * a * normal_density(h) * normal_density(a * h)
        f1 = both - h * f0
        slope = -(1 + a.square()) * h * both
        f2 = slope - f0 - h * f1
        f3 = -(1 + a.square()) * (both + h * slope) - 2 * f1 - h * f2
        q0 = ndtr(h) - 2 * owen(h, a)
        q1, q2, q3, q4 = (f * shrink**n for n, f in enumerate((f0, f1, f2, f3), 1))
        m, v = mean, variance
        zeroth = (m.square() + v) * q0 + 2 * m * v * q1 + v.square() * q2
        first = 2 * m * q0 + (m.square() + 3 * v) * q1 + 2 * m * v * q2 + v.square() * q3
        second = 2 * q0 + 4 * m * q1 + (m.square() + 5 * v) * q2 + 2 * m * v * q3 + v.square() * q4
        return zeroth, first, second


class Quadrature(Activation):
    """Any smooth activation by Gauss and Hermite's rule. Memory 32 times that of the arguments.

    Args:
        name: of the activation.
        derivatives: s, s' and s'' of a tensor.
    """

    closed = False

    def __init__(self, name: str, derivatives: Callable[[Tensor], Triple]) -> None:
        super().__init__(name)
        self.derivatives = derivatives

    def __call__(self, x: Tensor) -> Tensor:
        return self.derivatives(x)[0]

    def _at_nodes(self, mean: Tensor, variance: Tensor) -> tuple[Triple, Tensor]:  # [..., 32] each, [32]
        nodes, weights = (torch.from_numpy(values).to(mean) for values in gauss_hermite(NODES))
        return self.derivatives(mean[..., None] + deviation_of(variance)[..., None] * nodes), weights

    def moments(self, mean: Tensor, variance: Tensor) -> Pair:
        (value, slope, _), weights = self._at_nodes(mean, variance)
        return value @ weights, slope @ weights

    def second(self, mean: Tensor, variance: Tensor) -> Triple:
        (value, slope, curve), weights = self._at_nodes(mean, variance)
        curvature = 2 * (slope.square() + value * curve)
        return value.square() @ weights, (2 * value * slope) @ weights, curvature @ weights


def _tanh(x: Tensor) -> Triple:
    value = x.tanh()
    slope = 1 - value.square()
    return value, slope, -2 * value * slope


def _silu(x: Tensor) -> Triple:
    p = x.sigmoid()
    slope = p * (1 - p)
    return x * p, p + x * slope, slope * (2 + x * (1 - 2 * p))


ACTIVATIONS: dict[str, Activation] = {
    "relu": ReLU("relu"),
    "erf": Erf("erf"),
    "gelu": GELU("gelu"),
    "linear": Linear("linear"),
    "tanh": Quadrature("tanh", _tanh),
    "silu": Quadrature("silu", _silu),
}


def activation(name: str) -> Activation:
    """The activation of this name. Raises :class:`gmcn.errors.InputError` for an unknown one."""
    if name not in ACTIVATIONS:
        raise unknown("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]


def owen(h: Tensor, a: Tensor) -> Tensor:
    """Owen's T(h, a), an integral from 0 to ``a`` <= 1 over a smooth function, by Gauss and Legendre's rule."""
    nodes, weights = (torch.from_numpy(values).to(h) for values in gauss_legendre(OWEN_NODES))
    x = a[..., None] * nodes
    spread = 1 + x.square()
    return a * ((-h.square()[..., None] / 2 * spread).exp() / spread @ weights) / (2 * math.pi)


@functools.cache
def gauss_hermite(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights for the expectation of a standard normal variable."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    return nodes, weights / math.sqrt(2 * math.pi)


@functools.cache
def gauss_legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights for the integral from 0 to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return (nodes + 1) / 2, weights / 2
