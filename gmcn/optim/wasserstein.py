"""The Wasserstein gradient flow of a measure, restricted to Gaussian mixtures, as an optimiser.

A functional F of a mixture with weights p, means m and covariances C = A Aᵀ flows by (Lambert et al., 2022, for one
Gaussian; for mixtures of neurons after Chewi, Rigollet and Yan, 2025, the equations are ours)

    dm_k/dt = -(1/p_k) ∂F/∂m_k,     dC_k/dt = -(M C + C M),  M = (2/p_k) ∂F/∂C_k

The exponential map of the Bures-Wasserstein geometry takes a step of it: C⁺ = (1 - h M) C (1 - h M). That is what a
gradient step on any square factor does, A⁺ = A - (h/p_k) ∂F/∂A, to the last digit, because ∂F/∂A = 2 (∂F/∂C) A. So the
flow is gradient descent at the rate h/p_k. For a diagonal with factors of low rank it is the flow of the lifted noise,
(std, U) -> C: C moves by it, but not along its shortest path.

The weights may flow too, by Fisher and Rao's metric: d log p_k/dt = -(∂F/∂p_k - Σ_j p_j ∂F/∂p_j). In logits a, with
p = softmax(a), the right side is -(1/p_k) ∂F/∂a_k: once more the same rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from gmcn.errors import InputError
from gmcn.nn import GaussianMixtureLayer


class WassersteinSGD(torch.optim.Optimizer):
    """Gradient descent in which component k of a mixture moves at the rate lr / p_k; see the module.

    Args:
        params: a network, or groups such as :func:`flow_groups` makes of one. A group says whether it is a ``mixture``:
            its parameters are then the logits [K] first, and tensors [K, ...] of the components. Other groups move by
            plain gradient descent.
        lr: the rate h.
        fisher_rao: rate of the weights, over ``lr``; 0 keeps them. For layers with ``train_weights``.
        least_weight: the weights that flow do not get below it.
        decay: adds decay / 2 times the second moment of the mixture, and the squares of all other parameters, to F.

    Raises:
        InputError: for a rate that is negative or not a number, a group that does not say what it is, a mixture's group
            whose tensors do not fit its logits, or weights that shall flow and are not trained; in a step, where one
            component takes all the weight.
    """

    def __init__(
        self,
        params: nn.Module | Iterable[Any],
        lr: float = 0.1,
        *,
        fisher_rao: float = 0.0,
        least_weight: float = 1e-4,
        decay: float = 0.0,
    ) -> None:
        own = {"lr": lr, "fisher_rao": fisher_rao, "least_weight": least_weight, "decay": decay}
        groups = flow_groups(params) if isinstance(params, nn.Module) else params
        super().__init__(groups, own)
        if fisher_rao and not any(group["mixture"] for group in self.param_groups):
            raise InputError(
                "WassersteinSGD: fisher_rao moves the weights of mixture layers, and there is no such layer"
            )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; that of a mixture begins with its logits."""
        if "mixture" not in param_group:
            raise InputError(
                "WassersteinSGD: a group does not say whether it is a mixture; pass the network itself, or "
                "flow_groups(network)"
            )
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for name in ("lr", "fisher_rao", "decay"):
            if not group[name] >= 0:
                raise InputError(f"WassersteinSGD: {name} is {group[name]}, but must not be negative")
        if group["mixture"]:
            self._check_mixture(group)

    @staticmethod
    def _check_mixture(group: dict[str, Any]) -> None:
        logits, *others = group["params"]
        for tensor in others:
            if logits.ndim != 1 or tensor.shape[:1] != logits.shape:
                raise InputError(
                    f"WassersteinSGD: a tensor {list(tensor.shape)} does not fit the logits {list(logits.shape)} "
                    "of its mixture; the group of a mixture has its logits first, then tensors [K, ...]"
                )
        if not group["fisher_rao"]:
            return
        if not logits.requires_grad:
            raise InputError(
                "WassersteinSGD: fisher_rao moves weights that a layer does not train; set `train_weights`"
            )
        if not 0 < group["least_weight"] * len(logits) <= 1:
            raise InputError(
                f"WassersteinSGD: least_weight is {group['least_weight']}, but must be above 0 and at most one over "
                f"the {len(logits)} components"
            )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of all groups."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["mixture"]:
                self._flow(group)
            else:
                self._move(group)
        return loss

    def _move(self, group: dict[str, Any]) -> None:
        for tensor in group["params"]:
            if tensor.grad is not None:
                if group["decay"]:
                    tensor.mul_(1 - group["lr"] * group["decay"])
                tensor.add_(tensor.grad, alpha=-group["lr"])

    def _flow(self, group: dict[str, Any]) -> None:
        logits, *others = group["params"]
        weights = logits.softmax(0)
        # A component of weight 0 stays where it is.
        rates = torch.where(weights > 0, group["lr"] / weights, 0.0)
        if group["fisher_rao"] and logits.grad is not None:
            self._flow_of_weights(group, weights)
        for tensor in others:
            if tensor.grad is None:
                continue
            if group["decay"]:
                tensor.mul_(1 - group["lr"] * group["decay"])
            tensor.addcmul_(tensor.grad, rates.view(-1, *[1] * (tensor.ndim - 1)), value=-1)

    @staticmethod
    def _flow_of_weights(group: dict[str, Any], weights: Tensor) -> None:
        """Fisher and Rao's step: (1/p_k) ∂F/∂a_k is ∂F/∂p_k less its mean; that of the decay is added here."""
        logits, *others = group["params"]
        slope = logits.grad / weights
        if group["decay"]:
            energy = sum(tensor.square().flatten(1).sum(1) for tensor in others) * (group["decay"] / 2)
            slope = slope + energy - weights @ energy
        logits.sub_(slope, alpha=group["lr"] * group["fisher_rao"])
        logits.copy_(floored(logits.softmax(0), group["least_weight"]).log())


def floored(
    weights: Tensor,  # [K], with sum one
    least: float,
) -> Tensor:  # [K]
    """No weight below ``least``, those above it in their proportions, with sum one.

    Raises :class:`gmcn.errors.InputError` where one of several would have all the rest.
    """
    low = weights < least
    while low.any():
        if low.sum() >= len(weights) - 1:
            raise InputError(
                f"WassersteinSGD: the Fisher-Rao step leaves one of {len(weights)} components all the weight; lower "
                "fisher_rao, or the learning rate"
            )
        free = torch.where(low, 0.0, weights)
        weights = torch.where(low, least, free * ((1 - least * low.sum()) / free.sum()))
        more = low | (weights < least)
        if more.equal(low):
            break
        low = more
    return weights


def flow_groups(network: nn.Module) -> list[dict[str, Any]]:
    """Groups for :class:`WassersteinSGD`: one for each Gaussian mixture layer, one for the rest."""
    groups: list[dict[str, Any]] = []
    seen: set[int] = set()
    for module in network.modules():
        if isinstance(module, GaussianMixtureLayer):
            parameters = module.flow_parameters()
            seen.update(map(id, parameters))
            groups.append({"params": parameters, "mixture": True})
    rest = [parameter for parameter in network.parameters() if id(parameter) not in seen]
    return [*groups, *([{"params": rest, "mixture": False}] if rest else [])]
