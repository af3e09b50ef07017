"""Outputs and gradients against those of the authors' code; tests/golden/README.md describes the vectors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gmcn import Mixture
from gmcn.nn import GaussianConvolution, MixtureNorm
from gmcn.ops.reference.reduce_treehem import build_tree, core
from gmcn.results.rmse import ErrorSum

from .golden import (
    assert_close,
    keys,
    load,
    mean_variance,
    pack,
    pad,
    real_components,
    standardised_mse,
    symmetric,
    unpack,
)

TREES = keys("tree2d_", "_out")


def check(case: str, output: Tensor, tolerance: float = 1e-9, gradient_tolerance: float = 1e-9, **inputs) -> None:
    """The output, and its gradients with respect to the named inputs."""
    assert_close(output, load(f"{case}_out"), tolerance)
    gradients = torch.autograd.grad((output * load(f"{case}_functional")).sum(), list(inputs.values()))
    for name, gradient in zip(inputs, gradients, strict=True):
        golden = load(f"{case}_grad_{name}")
        if gradient.shape[-1] == 7:
            gradient, golden = symmetric(gradient), symmetric(golden)
        assert_close(gradient, golden, gradient_tolerance)


def test_evaluate(ops):
    mixture, points = load("eval2d_mixture").requires_grad_(), load("eval2d_x").requires_grad_()
    check("eval2d", ops.evaluate(unpack(mixture), points), mixture=mixture, x=points)


def test_evaluate_broadcast(ops):
    values = ops.evaluate(unpack(load("eval2d_mixture")), load("eval2d_x_broadcast"))
    assert_close(values, load("eval2d_out_broadcast"))


def test_evaluate_componentwise(ops):
    components = unpack(load("eval2d_mixture")).map(lambda tensor: tensor.unsqueeze(3))
    values = ops.evaluate(components, load("eval2d_x").unsqueeze(2))  # [B, F, N, M]
    assert_close(values.transpose(2, 3), load("eval2d_out_componentwise"))


def test_convolve(ops):
    data, kernels = load("conv2d_data").requires_grad_(), load("conv2d_kernels").requires_grad_()
    check("conv2d", pack(ops.convolve(unpack(data), unpack(kernels))), data=data, kernels=kernels)


@pytest.mark.parametrize("n", [8, 32, 90])
def test_convolve_fit(ops, n):
    data, kernels = load("conv2d_data").requires_grad_(), load("conv2d_kernels").requires_grad_()
    check(f"convfit2d_{n}", pack(ops.convolve_fit(unpack(data), unpack(kernels), n)), data=data, kernels=kernels)


def test_relu_fit(ops):
    mixture = load("relu2d_mixture").requires_grad_()
    fitted = ops.relu_fit(unpack(mixture), offset=0.1, smoothing=(0.05, 0.05))
    check("relu2d", pack(fitted), mixture=mixture)


def test_relu_fit_of_the_paper(ops):
    """Their amplitude form: our operation's constants act on integrals, so only the evaluations are ours."""
    packed = load("relu_paper2d_amplitude_mixture").requires_grad_()
    mixture = unpack(packed)
    integrals = 2 * math.pi * mixture.covariances.det().sqrt()

    def values(amplitudes: Tensor) -> Tensor:
        return ops.evaluate(mixture._replace(weights=amplitudes * integrals), mixture.positions)

    initial = mixture.weights.relu() + 0.05
    amplitudes = initial * values(mixture.weights).relu() / (values(initial) + 0.05)
    output = pack(mixture._replace(weights=amplitudes))
    assert_close(output, load("relu_paper2d_out_amplitudes"))
    (gradient,) = torch.autograd.grad((output * load("relu_paper2d_functional")).sum(), packed)
    assert_close(symmetric(gradient), symmetric(load("relu_paper2d_grad_mixture")))


@pytest.mark.parametrize(("components", "n"), [(40, 8), (64, 16)])
def test_reduce_em(ops, components, n):
    mixture = load(f"mem2d_{components}_{n}_mixture").requires_grad_()
    check(f"mem2d_{components}_{n}", pack(ops.reduce_em(unpack(mixture), n)), mixture=mixture)


@pytest.mark.parametrize("case", TREES)
def test_reduce_treehem(ops, case):
    def reduce(mixture: Mixture, n: int, t: int, golden: Tensor) -> Mixture:
        reduced = ops.reduce_treehem(mixture, n, t)
        if n < mixture.components:
            return reduced
        # Ours leaves such a mixture as it is, theirs reorders it.
        order = torch.cdist(unpack(golden).positions[:n], mixture.positions.detach()).argmin(-1)
        return reduced.map(lambda tensor: tensor[order])

    _check_trees(case, "", reduce)


@pytest.mark.parametrize("case", TREES)
def test_reduce_treehem_without_scale(case):
    _check_trees(case, "_unscaled", lambda mixture, n, t, _: core(mixture, n, t, 0.5, 4.0))


def _check_trees(case: str, kind: str, reduce) -> None:
    """One mixture at a time: their numbers of components differ."""
    t = int(case.split("_")[1][1:])
    outputs, functionals = load(f"{case}_out{kind}").flatten(0, 1), load(f"{case}_functional{kind}").flatten(0, 1)
    mixtures, gradients = load(f"{case}_mixture").flatten(0, 1), load(f"{case}_grad_mixture{kind}").flatten(0, 1)
    for packed, golden, functional, golden_gradient in zip(mixtures, outputs, functionals, gradients, strict=True):
        packed.requires_grad_()
        mixture = unpack(packed)
        reduced = reduce(mixture, real_components(golden), t, golden)
        variance = torch.ones((), dtype=packed.dtype) if kind else mean_variance(mixture)
        output = pack(pad(reduced, len(golden), variance))
        assert_close(output, golden)
        (gradient,) = torch.autograd.grad((output * functional).sum(), packed)
        assert_close(symmetric(gradient), symmetric(golden_gradient), 1e-7 if "spread" in case else 1e-9)


@pytest.mark.parametrize("case", TREES)
def test_tree(case):
    mixtures, nodes = load(f"{case}_mixture").flatten(0, 1), load(f"{case}_nodes").flatten(0, 1)
    orders = load(f"{case}_leaf_order").flatten(0, 1)
    for mixture, golden, order in zip(mixtures, nodes, orders, strict=True):
        tree = build_tree(unpack(mixture).positions)
        inner = len(mixture) - 1
        assert tree.order == order.tolist()
        assert tree.left == golden[:inner, 1].tolist()
        assert tree.right == golden[:inner, 2].tolist()


@pytest.mark.parametrize("size", ["", "big_"])
def test_kernels(size):
    layer = GaussianConvolution(3, 4, dim=2, epsilon_scope="layer").double()
    with torch.no_grad():
        layer.raw_weights.copy_(load("kernel2d_raw_weights")[..., 0])
        layer.raw_positions.copy_(load("kernel2d_raw_positions"))
        layer.covariance_factors.copy_(load(f"kernel2d_{size}raw_covariance_factors").mT)
    assert_close(pack(layer.kernels()), load(f"kernel2d_{size}kernels"), 5e-9)
    assert_close(layer.decay_loss(), load(f"kernel2d_{size}weight_decay_loss"), 5e-9)


def test_norm_per_sample():
    mixture = load("covnorm2d_mixture").requires_grad_()
    output = pack(MixtureNorm(3, mode="instance", weighted=False)(unpack(mixture)))
    assert_close(output, load("covnorm2d_out_persample"))
    (gradient,) = torch.autograd.grad((output * load("covnorm2d_functional")).sum(), mixture)
    assert_close(symmetric(gradient), symmetric(load("covnorm2d_grad_mixture_persample")))


def test_norm_with_running_average():
    mixture = unpack(load("covnorm2d_mixture"))
    norm = MixtureNorm(3, mode="running", momentum=0.002, weighted=False).double()
    norm.variance.fill_(1 / 2)  # theirs averages traces and starts at a trace of 1
    for call in (1, 2):
        assert_close(pack(norm(mixture)), load(f"covnorm2d_out_batch_train{call}"))
        assert_close(norm.variance, load(f"covnorm2d_buffer_after{call}") / 2)
    assert_close(pack(norm.eval()(mixture)), load("covnorm2d_out_batch_eval"))


def test_block(ops):
    data, kernels = load("block2d_data").requires_grad_(), load("block2d_kernels").requires_grad_()
    convolved = ops.convolve(unpack(data), unpack(kernels))
    fitted = ops.relu_fit(convolved._replace(weights=convolved.weights / 3), offset=0.1, smoothing=(0.05, 0.05))
    golden = load("block2d_out")
    reduced = []
    for b in range(2):
        for g in range(4):
            mixture = fitted.map(lambda tensor, b=b, g=g: tensor[b, g])
            n = real_components(golden[b, g])
            reduced.append(pad(ops.reduce_treehem(mixture, n), 16, mean_variance(mixture)))
    reduced = Mixture(*(torch.stack(tensors).unflatten(0, (2, 4)) for tensors in zip(*reduced, strict=True)))
    output = MixtureNorm(4, mode="instance", weighted=False)(reduced)
    assert_close(ops.integrate(output), load("block2d_integral"))
    check("block2d", pack(output), data=data, kernels=kernels)


def test_standardised_errors(ops):
    """Their figure of merit of dense fit and reduction, from our values."""
    points = load("mse2d_points")
    mixture, fitted, reduced = (unpack(load(key)) for key in ("relu2d_mixture", "relu2d_out", "mse2d_reduced"))
    target = ops.evaluate(mixture, points).clamp(min=1e-5)
    dense, sparse = ops.evaluate(fitted, points), ops.evaluate(reduced, points)

    pairs = (target, sparse), (target, dense), (dense, sparse)
    golden = load("mse2d_all_relu_reduction")
    assert_close(torch.stack([standardised_mse(truth, fit) for truth, fit in pairs]), golden)
    for (truth, fit), expected in zip(pairs, golden.tolist(), strict=True):
        errors = ErrorSum()
        for parts in zip(truth.split(1), fit.split(1), strict=True):
            errors.add(*parts)
        assert errors.result()["standardised"] ** 2 == pytest.approx(expected, rel=1e-9)
