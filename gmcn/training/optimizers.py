"""The optimisers that a training may name."""

from __future__ import annotations

import torch

from gmcn.models import Network
from gmcn.optim import WassersteinSGD
from gmcn.training.settings import TrainingSettings


def optimizer_of(model: Network, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Adam with torch's betas, or the flow, on all parameters. Training sets its rate before each step."""
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "wasserstein":
        return WassersteinSGD(model, rate, fisher_rao=settings.fisher_rao, decay=decay)
    kind = torch.optim.AdamW if decay else torch.optim.Adam
    return kind(model.parameters(), lr=rate, weight_decay=decay)
