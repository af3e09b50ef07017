"""What classifies at the end of a network: layers on its features, and how large a shape is."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily, Normal

from gmcn.mixture import Mixture, log_size
from gmcn.nn import GaussianMixtureLayer

Head = Annotated[
    Literal["fc", "mixture"],
    "What classifies the features: fully connected layers, or a Gaussian mixture layer of 20 Gaussians of rank 4 in "
    "their place (ours; docs/gm_layers.md).",
]
COMPONENTS, RANK = 20, 4
# Of the densities of sizes: Gaussians of a class, their least deviation, the log-density of a size that no class has.
GAUSSIANS, LEAST_DEVIATION, UNKNOWN = 3, 0.1, -7.0
# The log-weight of a Gaussian that a class of few objects does not have. Finite, as checkpoints have to be.
ABSENT = -1e4


def mixture_head(features: int, classes: int) -> GaussianMixtureLayer:
    """Features [B, F] to logits [B, classes]."""
    return GaussianMixtureLayer(features, classes, COMPONENTS, "low-rank", RANK)


def head(kind: str, features: int, classes: int) -> nn.Module:
    """Features [B, F] to logits [B, classes]; the perceptron has 64 hidden values."""
    if kind == "mixture":
        return mixture_head(features, classes)
    return nn.Sequential(nn.Linear(features, 64), nn.ReLU(), nn.Linear(64, classes))


class Sizes(nn.Module):
    """How likely the size of a shape is among the training objects of each class.

    The size is one number, :func:`gmcn.mixture.log_size`, which a network that normalises its input does not see. For
    each class its density is a mixture of Gaussians, fitted to the training objects before the first step of a
    training, and not changed by it.
    """

    log_weights: Tensor  # [classes, K]
    means: Tensor  # [classes, K]
    deviations: Tensor  # [classes, K]

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("log_weights", torch.full((classes, GAUSSIANS), -math.log(GAUSSIANS)))
        self.register_buffer("means", torch.zeros(classes, GAUSSIANS))
        self.register_buffer("deviations", torch.ones(classes, GAUSSIANS))

    @torch.no_grad()
    def learn_(
        self,
        mixture: Mixture,  # [S, N] or [S, F, N]
        labels: Tensor,  # [S]
        seed: int,
    ) -> None:
        """Fit the densities; a class of fewer than two objects gets that of all objects."""
        from sklearn.mixture import GaussianMixture

        sizes = log_size(mixture).double().cpu()
        for place in range(len(self.means)):
            own = sizes[labels.cpu() == place]
            own = own if len(own) > 1 else sizes
            count = min(GAUSSIANS, len(own))
            self.log_weights[place] = ABSENT
            fitted = GaussianMixture(count, reg_covar=LEAST_DEVIATION**2, n_init=3, random_state=seed).fit(own[:, None])
            self.log_weights[place, :count] = torch.from_numpy(fitted.weights_).log()
            self.means[place, :count] = torch.from_numpy(fitted.means_[:, 0])
            self.deviations[place, :count] = torch.from_numpy(fitted.covariances_[:, 0, 0]).sqrt()

    def forward(
        self,
        mixture: Mixture,  # [B, N] or [B, F, N]
    ) -> Tensor:  # [B, classes]
        """Log-densities. Sizes that no training object has are as likely in every class."""
        gaussians = Normal(self.means, self.deviations, validate_args=False)
        weights = Categorical(logits=self.log_weights, validate_args=False)
        density = MixtureSameFamily(weights, gaussians, validate_args=False)
        found = density.log_prob(log_size(mixture)[:, None])
        return torch.logaddexp(found, found.new_tensor(UNKNOWN))
