"""Every operation as a function of plain tensors: for what is tested in the same way on all of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gmcn import Mixture

from .workload import random_mixture, random_points

Function = Callable[..., Tensor]  # any number of tensors to one vector


def mixture(weights: Tensor, positions: Tensor, factors: Tensor) -> Mixture:
    """Covariances FᵀF, which stay symmetric when one entry of F varies; in steps that autocast leaves alone."""
    return Mixture(weights, positions, (factors[..., :, None] * factors[..., None, :]).sum(-3))


def inputs(*shapes: tuple[int, ...], seed: int, positive: bool = False) -> list[Tensor]:
    """Weights, positions and factors of one mixture [..., N] per shape."""
    tensors = []
    for place, (*lead, components) in enumerate(shapes):
        some = random_mixture(tuple(lead), components, 2, seed=seed + 10 * place, positive=positive)
        tensors += [some.weights, some.positions, torch.linalg.cholesky(some.covariances).mT.contiguous()]
    return tensors


def of_one(operation: Callable[..., Mixture | Tensor]) -> Callable:
    return lambda ops, *tensors: operation(ops, mixture(*tensors))


def of_two(operation: Callable[..., Mixture | Tensor]) -> Callable:
    return lambda ops, *tensors: operation(ops, mixture(*tensors[:3]), mixture(*tensors[3:]))


def reduced_convolution(ops, weights, *tensors):
    data, kernels = mixture(*tensors[:3]), mixture(*tensors[3:])
    return ops.convolve_reduce_treehem(weights, data, kernels, 3)


def tree(seed: int) -> list[Tensor]:
    """Points, and the heights, means and whiteners of two trees with 2 and 6 components."""
    _, means, factors = inputs((2, 8), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    heights = torch.randn(2, 8, generator=generator, dtype=torch.float64)
    return [random_points((2,), 4, 2, seed), heights, means, factors]


# Each as a function of tensors, and tensors for a seed.
ONE, TWO = ((2, 6),), ((2, 2, 3), (2, 2, 2))
OPERATIONS = {
    "evaluate": (
        lambda ops, points, *tensors: ops.evaluate(mixture(*tensors), points),
        lambda seed: [random_points((2,), 4, 2, seed), *inputs(*ONE, seed=seed)],
    ),
    "integrate": (of_one(lambda ops, some: ops.integrate(some)), lambda seed: inputs(*ONE, seed=seed)),
    "relu_fit": (of_one(lambda ops, some: ops.relu_fit(some)), lambda seed: inputs(*ONE, seed=seed)),
    "reduce_treehem": (
        of_one(lambda ops, some: ops.reduce_treehem(some, 3)),
        lambda seed: inputs(*ONE, seed=seed, positive=True),
    ),
    "reduce_em": (of_one(lambda ops, some: ops.reduce_em(some, 3)), lambda seed: inputs(*ONE, seed=seed)),
    "refine_em": (
        of_two(lambda ops, some, target: ops.refine_em(some, target, 2)),
        lambda seed: inputs((2, 3), (2, 6), seed=seed, positive=True),
    ),
    "convolve": (of_two(lambda ops, data, kernels: ops.convolve(data, kernels)), lambda seed: inputs(*TWO, seed=seed)),
    "convolve_fit": (
        of_two(lambda ops, data, kernels: ops.convolve_fit(data, kernels, 3)),
        lambda seed: inputs(*TWO, seed=seed),
    ),
    "convolve_relu_fit": (
        of_two(lambda ops, data, kernels: ops.convolve_relu_fit(data, kernels)),
        lambda seed: inputs(*TWO, seed=seed),
    ),
    "convolve_relu_nodes": (
        of_two(lambda ops, data, kernels: ops.convolve_relu_nodes(data, kernels, 3)),
        lambda seed: [*inputs(TWO[0], seed=seed, positive=True), *inputs(TWO[1], seed=seed + 10)],
    ),
    "convolve_reduce_treehem": (
        reduced_convolution,
        lambda seed: [inputs((2, 2, 12), seed=seed, positive=True)[0], *inputs(*TWO, seed=seed)],
    ),
    "tree_log_prob": (lambda ops, *tensors: ops.tree_log_prob(*tensors, (2, 6)), tree),
}
KERNELS = OPERATIONS.keys() - {"integrate", "reduce_em", "refine_em", "convolve"}  # the others are plain torch


def vector(name: str, ops) -> Function:
    """The operation's results side by side, as one function of its tensors."""

    def function(*tensors: Tensor) -> Tensor:
        result = OPERATIONS[name][0](ops, *tensors)
        return torch.cat([part.flatten() for part in ([result] if isinstance(result, Tensor) else result)])

    return function


def scalar(function: Function) -> Function:
    """A fixed combination of the results, and not a linear one."""

    def combined(*tensors: Tensor) -> Tensor:
        values = function(*tensors)
        return (values.square() * torch.linspace(-1, 1, values.numel(), dtype=values.dtype)).sum()

    return combined


def gradient(function: Function, tensors: list[Tensor], create_graph: bool = False) -> tuple[Tensor, ...]:
    leaves = [tensor if create_graph else tensor.detach().requires_grad_() for tensor in tensors]
    wanted = torch.autograd.grad(
        scalar(function)(*leaves), leaves, create_graph=create_graph, allow_unused=True, materialize_grads=True
    )
    return tuple(wanted)
