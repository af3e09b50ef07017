"""How the measure of a Gaussian mixture layer moves: its flow beside that of free neurons, and its components.

A functional F of the layer's outputs f(x_i) has the first variation, by a neuron θ = (w, v),

    U(θ) = Σ_i g_i·v s(w·x_i),      g_i = ∂F/∂f(x_i)                                                             (1)

Free neurons move with the velocity -∇U(θ). Those of a mixture move as its parameters let them: a neuron of component k
is θ = m + std ε + Σ_r u_r η_r for standard normal numbers (ε, η), and gradient descent at the rate 1 / p_k moves it by

    b(ε, η) = ṁ + ṡtd ε + Σ_r u̇_r η_r,      ṁ = -(1/p_k) ∂F/∂m, and so on                                        (2)

Since (1/p_k) ∂F/∂m = E ∇U, (1/p_k) ∂F/∂u_r = E ∇U η_r and the same for std, (2) is the best approximation to -∇U(θ) of
its form, in the mean square over the neurons. For full covariances these are all fields of the form a + H (θ - m), with
H = E ∇²U (the Bures-Wasserstein gradient); for diagonal ones H is diagonal and 0 for v. For factors of low rank it is
that of the lifted noise: b may differ for two draws of one neuron. The residual is the share that no field has:

    residual = E |-∇U - b|² / E |∇U|²,      E |∇U|² = E |b|² + E |-∇U - b|²                                       (3)

Of the last, E |b|² is known exactly and the other mean is by Monte Carlo. All of this is our derivation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gmcn.nn import GaussianMixtureLayer

CHUNK = 512  # inputs at a time, for what each component answers


@dataclass(frozen=True)
class Flow:
    """What moves one layer: its inputs, and the gradients of the loss; velocities of its parameters, (2)."""

    inputs: Tensor  # [I, d]
    gradients: Tensor  # [I, o], by the outputs
    means: Tensor  # [K, D]
    stds: Tensor  # [K, D]
    factors: Tensor  # [K, R, D]

    @property
    def squared(self) -> Tensor:  # [K]
        """E |b|² of each component."""
        return sum(moved.square().flatten(1).sum(1) for moved in (self.means, self.stds, self.factors))


def mixture_layers(network: nn.Module) -> dict[str, GaussianMixtureLayer]:
    """The Gaussian mixture layers of a network, by their names."""
    return {name: module for name, module in network.named_modules() if isinstance(module, GaussianMixtureLayer)}


def flows(network: nn.Module, losses: Iterable[Callable[[], Tensor]]) -> dict[str, Flow]:
    """The flow of each mixture layer, by its name, for a loss that is the sum of ``losses``, each of one batch."""
    layers = mixture_layers(network)
    moving = {name: layer.flow_parameters()[1:] for name, layer in layers.items()}
    sums = {name: [torch.zeros_like(tensor) for tensor in tensors] for name, tensors in moving.items()}
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in layers}
    for loss in losses:
        value, calls = _called(loss, layers)
        wanted = [*(out for *_, out in calls), *(tensor for name in layers for tensor in moving[name])]
        found = iter(torch.autograd.grad(value, wanted, materialize_grads=True))
        for name, given, out in calls:
            seen[name].append((given.detach().flatten(0, -2), next(found).reshape(-1, out.shape[-1])))
        for name in layers:
            for total in sums[name]:
                total += next(found)
    return {
        name: Flow(*map(torch.cat, zip(*seen[name], strict=True)), *_velocities(layer, sums[name]))
        for name, layer in layers.items()
    }


def _called(
    loss: Callable[[], Tensor], layers: Mapping[str, GaussianMixtureLayer]
) -> tuple[Tensor, list[tuple[str, Tensor, Tensor]]]:
    """The loss, and name, input and output of each layer on the way to it."""
    calls: list[tuple[str, Tensor, Tensor]] = []
    with contextlib.ExitStack() as hooks:
        for name, layer in layers.items():
            hook = layer.register_forward_hook(lambda _, given, out, name=name: calls.append((name, given[0], out)))
            hooks.callback(hook.remove)
        return loss(), calls


def _velocities(layer: GaussianMixtureLayer, gradients: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    means, factors, *stds = (-gradient / _rates(layer, gradient) for gradient in gradients)
    padded = torch.zeros_like(means)
    if stds:
        padded[:, : layer.inner] = stds[0]
    return means, padded, factors


def _rates(layer: GaussianMixtureLayer, like: Tensor) -> Tensor:  # [K, 1, ...]
    return layer.logits.detach().softmax(0).view(-1, *[1] * (like.ndim - 1))


def potential(
    layer: GaussianMixtureLayer,
    neurons: Tensor,  # [n, D]
    flow: Flow,
) -> Tensor:  # [n]
    """U of each neuron, equation (1)."""
    inner, outer = neurons.split((layer.inner, layer.out_features), 1)
    weight, bias = (inner[:, : layer.in_features], inner[:, -1]) if layer.bias else (inner, None)
    answers = layer.activation(nn.functional.linear(flow.inputs, weight, bias))  # [I, n]
    return (answers * (flow.gradients @ outer.mT)).sum(0)


def residual(layer: GaussianMixtureLayer, flow: Flow, neurons: int, generator: torch.Generator) -> dict[str, float]:
    """Equation (3) for ``neurons`` neurons, as many of each component (two at least), with its standard error.

    ``speed`` is the root of E |∇U|², of the free neurons.
    """
    shares = layer.logits.detach().softmax(0).double()
    each = max(2, -(-neurons // layer.components))
    gaps, errors = torch.zeros_like(shares), torch.zeros_like(shares)
    for component in range(layer.components):
        drawn, moved = _drawn(layer, flow, component, each, generator)
        (slope,) = torch.autograd.grad(potential(layer, drawn.requires_grad_(), flow).sum(), drawn)
        gap = (-slope - moved).double().square().sum(1)
        gaps[component], errors[component] = gap.mean(), gap.var() / each
    left, inside = (shares @ gaps).item(), (shares @ flow.squared.double()).item()
    error = (shares.square() @ errors).sqrt().item()
    whole = left + inside
    if whole == 0:  # nothing moves
        return {"residual": 0.0, "residual_error": 0.0, "speed": 0.0}
    return {"residual": left / whole, "residual_error": error * inside / whole**2, "speed": whole**0.5}


@torch.no_grad()
def _drawn(
    layer: GaussianMixtureLayer, flow: Flow, component: int, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:  # [count, D] each
    """Neurons of a component, and how the mixture moves them."""
    dim = layer.means.shape[1]
    own: dict[str, Any] = {"generator": generator, "device": generator.device, "dtype": torch.float64}
    noise = torch.randn(count, dim + layer.factors.shape[1], **own).to(layer.means)
    neurons = layer.means[component] + layer.spread(component, noise)
    moved = flow.means[component] + noise[:, :dim] * flow.stds[component] + noise[:, dim:] @ flow.factors[component]
    return neurons, moved


@torch.no_grad()
def components(layer: GaussianMixtureLayer, inputs: Tensor) -> dict[str, float]:  # inputs [I, d]
    """How many components there are in effect, and how many are dead.

    ``effective`` is the exponential of the entropy of the weights p_k, ``effective_by_output`` that of the shares of
    p_k E |c_k(x)|, where c_k is what component k answers. With ReLU a component is dead where its neurons are active
    with a probability (E s') below 1e-3 for every input; else where its share is below 1e-6 of the largest.
    """
    weights = layer.logits.softmax(0)
    sizes, active = torch.zeros_like(weights), torch.zeros_like(weights)
    for part in inputs.split(CHUNK):
        mean, variance, _ = layer.pre_activations(part)
        answers, slope = layer.answers(part), layer.activation.moments(mean, variance)[1]
        sizes += answers.norm(dim=-1).sum(0)
        active = torch.maximum(active, slope.amax(0))
    shares = weights * sizes / (weights @ sizes).clamp(min=torch.finfo(sizes.dtype).tiny)
    dead = active < 1e-3 if layer.activation.name == "relu" else shares < 1e-6 * shares.max()
    return {
        "components": layer.components,
        "effective": effective(layer.logits.double().softmax(0)),
        "effective_by_output": effective(shares),
        "dead": int(dead.sum()),
    }


def effective(shares: Tensor) -> float:  # [K]
    """The exponential of their entropy: K for equal shares, 1 where one has all."""
    return torch.special.entr(shares.double()).sum().exp().item()


@torch.no_grad()
def distance(first: GaussianMixtureLayer, second: GaussianMixtureLayer) -> dict[str, float]:
    """How far the components of a layer are from those of another one of the same shapes, after some training.

    ``length`` is the root of Σ p_k W₂²(k, k'), W₂ that of Bures and Wasserstein and p_k the mean of both weights;
    ``lifted`` the same for the parameters (means, std, factors), which is no less: the way that the flow took.
    """
    weights = (first.logits.softmax(0) + second.logits.softmax(0)) / 2
    moved = sum(
        (a - b).square().flatten(1).sum(1)
        for a, b in zip(first.flow_parameters()[1:], second.flow_parameters()[1:], strict=True)
    )
    squared = (weights @ first.measure().bures(second.measure())).item()
    return {"squared": squared, "length": squared**0.5, "lifted": (weights @ moved).item() ** 0.5}
