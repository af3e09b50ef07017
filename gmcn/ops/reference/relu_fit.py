"""Dense fit of the ReLU of a mixture, equations (6), (7), (13) and (14)."""

from __future__ import annotations

import torch

from gmcn.mixture import Mixture
from gmcn.ops.reference.evaluate import evaluate


def relu_fit(
    mixture: Mixture,  # [..., N]
    *,
    offset: float = 0.0,
    smoothing: tuple[float, float] = (0.0, 0.0),
    cutoff: float = 0.0,
) -> Mixture:  # [..., N]
    """New non-negative weights for the same positions and covariances, fitted to the rectified values there.

    With x = max(0, weights) + offset the new weight is x (max(0, f) + smoothing[0]) / (g + smoothing[1]), where f
    and g are the values at the centre of the mixture and of the mixture with weights x; 0 where x = 0.
    """
    initial = mixture.weights.relu() + offset
    values = evaluate(mixture, mixture.positions, cutoff=cutoff)
    initial_values = evaluate(mixture._replace(weights=initial), mixture.positions, cutoff=cutoff)
    # Where x > 0 the component itself makes g > 0; elsewhere the divisor is replaced before it can make 0/0.
    divisor = torch.where(initial > 0, initial_values + smoothing[1], 1.0)
    return mixture._replace(weights=initial * (values.relu() + smoothing[0]) / divisor)
