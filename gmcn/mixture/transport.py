"""Optimal transport between the weights of two mixtures."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


@torch.no_grad()
def transport_plan(
    costs: Tensor,  # [..., N, N'], not negative
    first: Tensor,  # [..., N], logarithms of weights
    second: Tensor,  # [..., N']
) -> Tensor:  # [..., N, N']
    """The shares that go from each component to each other one at the least cost, without a gradient. Needs SciPy.

    On the CPU, one leading position after the other. Costs are least up to 1e-10 of the largest one; equal weights in
    the same order that cost nothing stay where they are.
    """
    sizes = costs.shape[-2:]
    weights = (logits.cpu().double().softmax(-1).reshape(-1, logits.shape[-1]) for logits in (first, second))
    plans = [
        _plan(cost, one, two)
        for cost, one, two in zip(
            costs.cpu().double().reshape(-1, *sizes).numpy(), *(values.numpy() for values in weights), strict=True
        )
    ]
    return torch.as_tensor(np.array(plans)).to(costs).reshape(costs.shape)


def _plan(
    costs: np.ndarray,  # [N, N']
    first: np.ndarray,  # [N], with sum one
    second: np.ndarray,  # [N']
) -> np.ndarray:  # [N, N']
    from scipy import sparse
    from scipy.optimize import linear_sum_assignment, linprog

    if not np.isfinite(costs).all():
        return np.full(costs.shape, np.nan)
    if np.array_equal(first, second) and not costs.diagonal().any():
        return np.diag(first)
    if len(first) == len(second) and (np.concatenate((first, second)) == first[0]).all():
        plan = np.zeros(costs.shape)
        plan[linear_sum_assignment(costs)] = first[0]
        return plan
    rows = sparse.kron(sparse.eye(len(first)), np.ones((1, len(second))))
    columns = sparse.kron(np.ones((1, len(first))), sparse.eye(len(second)))
    solved = linprog(
        costs.ravel() / (costs.max() or 1),
        A_eq=sparse.vstack((rows, columns)).tocsr()[:-1],  # the last one follows from the others
        b_eq=np.concatenate((first, second))[:-1],
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if not solved.success:
        raise RuntimeError(f"no optimal transport between the components: {solved.message}")
    return solved.x.reshape(costs.shape)
