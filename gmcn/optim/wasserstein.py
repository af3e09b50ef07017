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

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from gmcn.errors import InputError
from gmcn.nn import GaussianMixtureLayer


class WassersteinSGD(torch.optim.Optimizer):
    """Gradient descent in which component k of a mixture moves at the rate lr / p_k; see the module.

    Parameters of a group with ``mixture=True`` are the logits [K] of a mixture first, then tensors [K, ...] of its
    components. Those of other groups move by plain gradient descent. :func:`flow_groups` makes the groups of a network.

    Args:
        params: parameters or groups of them.
        lr: the rate h.
        fisher_rao: rate of the weights, over ``lr``; 0 keeps them.
        least_weight: no weight gets below it.
        decay: of the squares of all moving parameters: adds decay / 2 times the mixture's second moment to F.

    Raises:
        InputError: for a rate that is not positive, or a mixture's group whose tensors do not fit its logits.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        *,
        fisher_rao: float = 0.0,
        least_weight: float = 1e-4,
        decay: float = 0.0,
    ) -> None:
        if lr < 0 or fisher_rao < 0 or decay < 0 or not 0 <= least_weight < 1:
            raise InputError(
                f"WassersteinSGD: lr {lr}, fisher_rao {fisher_rao} and decay {decay} must not be negative, and "
                f"least_weight {least_weight} must be in [0, 1)"
            )
        defaults = {
            "lr": lr,
            "fisher_rao": fisher_rao,
            "least_weight": least_weight,
            "decay": decay,
            "mixture": False,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; that of a mixture begins with its logits."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        if group["mixture"]:
            logits, *others = group["params"]
            for tensor in others:
                if logits.ndim != 1 or tensor.shape[:1] != logits.shape:
                    raise InputError(
                        f"WassersteinSGD: a tensor {list(tensor.shape)} does not fit the logits {list(logits.shape)} "
                        "of its mixture; the group of a mixture has its logits first, then tensors [K, ...]"
                    )
            if group["least_weight"] * len(logits) > 1:
                raise InputError(
                    f"WassersteinSGD: least_weight is {group['least_weight']}, more than one over the "
                    f"{len(logits)} components"
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
                _shrunk(tensor, group).add_(tensor.grad, alpha=-group["lr"])

    def _flow(self, group: dict[str, Any]) -> None:
        logits, *others = group["params"]
        weights = logits.softmax(0)
        rates = group["lr"] / weights
        for tensor in others:
            if tensor.grad is not None:
                own = rates.view(-1, *[1] * (tensor.ndim - 1))
                _shrunk(tensor, group).addcmul_(tensor.grad, own, value=-1)
        if group["fisher_rao"] and logits.grad is not None:
            logits.addcdiv_(logits.grad, weights, value=-group["lr"] * group["fisher_rao"])
            self._floor(logits, group["least_weight"])

    @staticmethod
    def _floor(logits: Tensor, least: float) -> None:
        """No weight below ``least``; InputError where one component has taken them all."""
        flowed = logits.log_softmax(0)
        low = math.log(max(least, 1e-30))
        if len(logits) > 1 and int((flowed > low).sum()) <= 1:
            raise InputError(
                f"WassersteinSGD: the Fisher-Rao step leaves one of {len(logits)} components all the weight; lower "
                "fisher_rao, or the learning rate"
            )
        logits.copy_(flowed.clamp(min=low).log_softmax(0))


def _shrunk(tensor: Tensor, group: dict[str, Any]) -> Tensor:
    """The tensor after its decay, in place; without one it costs no pass."""
    return tensor.mul_(1 - group["lr"] * group["decay"]) if group["decay"] else tensor


def flow_groups(network: nn.Module, weights: bool = False) -> list[dict[str, Any]]:
    """Groups for :class:`WassersteinSGD`: one for each Gaussian mixture layer, one for the rest.

    Raises :class:`gmcn.errors.InputError` where ``weights`` shall move, and no layer's do.
    """
    groups: list[dict[str, Any]] = []
    seen: set[int] = set()
    for module in network.modules():
        if isinstance(module, GaussianMixtureLayer):
            parameters = module.flow_parameters()
            seen.update(map(id, parameters))
            groups.append({"params": parameters, "mixture": True})
    if weights and not any(group["params"][0].requires_grad for group in groups):
        raise InputError(
            "fisher_rao moves the weights of Gaussian mixture layers, and no layer trains them; set `train_weights`"
        )
    rest = [parameter for parameter in network.parameters() if id(parameter) not in seen]
    return [*groups, *([{"params": rest}] if rest else [])]
