"""Likelihood ratios: what a mixture says of its input beside one Gaussian (after Ren et al., 2019).

A mixture finds an input with little in it likely, whatever it is: an empty patch is like all empty patches. So does a
single Gaussian of the same inputs. What of the mixture's log-likelihood m is left without the best multiple of that
Gaussian's, m - b g with b = cov(m, g) / var(g) over the training objects, is small for inputs whose parts are not
together as in training objects.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from gmcn.nn.gmm_layer import GMMLayer


class Background(nn.Module):
    """One Gaussian with a diagonal covariance of all that a layer sees, whose variances are at least one over its cap.

    Attributes:
        mean, variance: of the channels, [C].
        slope: b, [].
    """

    mean: Tensor
    variance: Tensor
    slope: Tensor

    def __init__(self, layer: GMMLayer) -> None:
        super().__init__()
        self.least = 1 / layer.cap
        self.register_buffer("mean", torch.zeros(layer.channels))
        self.register_buffer("variance", torch.ones(layer.channels))
        self.register_buffer("slope", torch.zeros(()))

    def log_likelihood(
        self,
        seen: Tensor,  # [B, C, H, W]
    ) -> Tensor:  # [B]
        """In nats, the mean over the positions."""
        mean, variance = (tensor[:, None, None] for tensor in (self.mean, self.variance))
        terms = (seen - mean).square() / variance + (2 * math.pi * variance).log()
        return -0.5 * terms.sum(1).mean((1, 2))

    def ratio(
        self,
        seen: Tensor,  # [B, C, H, W]
        log_likelihood: Tensor,  # [B], of the mixture
    ) -> Tensor:  # [B]
        """What of the mixture's log-likelihood is left."""
        return log_likelihood - self.slope * self.log_likelihood(seen)

    @torch.no_grad()
    def fit_(self, parts: Callable[[], Iterable[tuple[Tensor, Tensor]]]) -> None:
        """From all training objects, of which ``parts`` gives what the layer sees and says, each time it is called."""
        zero = torch.zeros_like(self.mean, dtype=torch.float64)
        count, total, squares = 0, zero, zero
        for seen, _ in parts():
            rows = seen.movedim(1, -1).flatten(0, 2).double()
            count, total, squares = count + len(rows), total + rows.sum(0), squares + rows.square().sum(0)
        mean = total / count
        self.mean.copy_(mean)
        self.variance.copy_((squares / count - mean.square()).clamp(min=self.least))
        pairs = [torch.stack((said, self.log_likelihood(seen))) for seen, said in parts()]
        covariance = torch.cat(pairs, 1).double().cov()
        self.slope.copy_(covariance[0, 1] / covariance[1, 1].clamp(min=1e-30))
