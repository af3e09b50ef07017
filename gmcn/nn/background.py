"""Likelihood ratios: what a mixture says of its input beside one Gaussian (after Ren et al., 2019).

A mixture finds an input with little in it likely, whatever it is: an empty patch is like all empty patches. So does a
single Gaussian of the same inputs. What of the mixture's log-likelihood m is left without the best multiple of that
Gaussian's, m - b g with b = cov(m, g) / var(g) over the training objects, is small for inputs whose parts are not
together as in training objects. But an input with much in it, whatever it is, is found by m alone: the smaller of both,
in standard deviations of the training objects, finds either.
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
        location, scale: means and standard deviations of m and of what is left, over the training objects, [2, 1].
    """

    mean: Tensor
    variance: Tensor
    slope: Tensor
    location: Tensor
    scale: Tensor

    def __init__(self, layer: GMMLayer) -> None:
        super().__init__()
        self.least = 1 / layer.cap
        self.register_buffer("mean", torch.zeros(layer.channels))
        self.register_buffer("variance", torch.ones(layer.channels))
        self.register_buffer("slope", torch.zeros(()))
        self.register_buffer("location", torch.zeros(2, 1))
        self.register_buffer("scale", torch.ones(2, 1))

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

    def smaller(
        self,
        seen: Tensor,  # [B, C, H, W]
        log_likelihood: Tensor,  # [B], of the mixture
    ) -> Tensor:  # [B]
        """The smaller of the mixture's log-likelihood and what is left of it, each in standard deviations."""
        both = torch.stack((log_likelihood, self.ratio(seen, log_likelihood)))
        return ((both - self.location) / self.scale).amin(0)

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
        said, simple = torch.cat(pairs, 1).double()
        covariance = torch.stack((said, simple)).cov()
        self.slope.copy_(covariance[0, 1] / covariance[1, 1].clamp(min=1e-30))
        both = torch.stack((said, said - self.slope * simple))
        self.location.copy_(both.mean(1, keepdim=True))
        self.scale.copy_(both.std(1, keepdim=True).clamp(min=1e-6))
