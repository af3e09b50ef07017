"""The optimisers that a training may name."""

from __future__ import annotations

import torch

from gmcn.models import Network
from gmcn.optim import WassersteinSGD
from gmcn.training.settings import TrainingSettings


def optimizer_of(model: Network, settings: TrainingSettings) -> torch.optim.Optimizer:
    """That of the settings on all parameters; Adam has torch's betas. Training sets the rates before each step."""
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "wasserstein":
        return WassersteinSGD(model, rate, fisher_rao=settings.fisher_rao, decay=decay)
    groups = model.parameter_groups()
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, weight_decay=decay)
    kind = torch.optim.AdamW if decay else torch.optim.Adam
    return kind(groups, lr=rate, weight_decay=decay)
