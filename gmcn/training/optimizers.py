"""The optimisers that a training may name."""

from __future__ import annotations

import torch

from gmcn.errors import InputError
from gmcn.models import Network
from gmcn.nn import GaussianConvolution
from gmcn.optim import MuonAdam, WassersteinSGD
from gmcn.training.settings import TrainingSettings


def optimizer_of(model: Network, settings: TrainingSettings) -> torch.optim.Optimizer:
    """That of the settings on all parameters; Adam has torch's betas. Training sets the rates before each step.

    Raises :class:`InputError` for the flow of a network whose parts learn at rates of their own, and for Muon of one
    without kernels.
    """
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "wasserstein":
        if type(model).parameter_groups is not Network.parameter_groups:
            raise InputError(
                f"training: the 'optimizer' wasserstein does not know the parts of {type(model).__name__}, which have "
                "rates of their own; take another one"
            )
        return WassersteinSGD(model, rate, fisher_rao=settings.fisher_rao, decay=decay)
    groups = model.parameter_groups()
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, weight_decay=decay)
    if settings.optimizer == "muon":
        kernels = [module.raw_weights for module in model.modules() if isinstance(module, GaussianConvolution)]
        if not kernels:
            raise InputError(
                f"training: the 'optimizer' muon is for kernels of mixtures, and {type(model).__name__} has none; take "
                "another one"
            )
        return MuonAdam(groups, kernels, lr=rate, weight_decay=decay)
    kind = torch.optim.AdamW if decay else torch.optim.Adam
    return kind(groups, lr=rate, weight_decay=decay)
