"""Norms: the spatial scale that pools (section 4.3), the activation of the input (section 5), batch normalisation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from gmcn import ops, ranks
from gmcn.errors import InputError, unknown
from gmcn.mixture import Mixture, mean_variance, rescale

MODES = ("batch", "instance", "running")


class MixtureNorm(nn.Module):
    """Scales space so that the average trace of the covariances is D, an average variance of one per dimension.

    Maps mixtures [B, F, N] to the same shape. Positions are multiplied by the scale and covariances by its square;
    weights, and with them integrals, stay. The average is taken

    * ``instance``: over the components of each sample and channel;
    * ``batch``: over the samples and components of each channel in training, with its gradient, and from running
      averages in evaluation, as batch normalisation does it;
    * ``running``: from running averages also in training, and without a gradient, as in the authors' code.

    ``weighted`` averages by absolute weight. The scale then belongs to the function and not to its representation:
    components of weight zero, which the dense fit and the padding of a reduction leave behind, do not count, and a
    component may be split in two. Unweighted it is the average of the authors' code. Without ``gradient`` the scale
    is a constant to the backward pass in every mode.

    ``across_ranks`` (see :func:`synchronise`) takes the averages of a batch over the batches of all ranks.

    A ``momentum`` of None makes the running average a plain one, as in torch's norms.

    Raises:
        InputError: for an unknown mode, or a mixture with another number of channels.
    """

    across_ranks = False
    variance: Tensor  # [F] running average of trace / D
    batches: Tensor  # [] how many it is of

    def __init__(
        self,
        channels: int,
        *,
        mode: Literal["batch", "instance", "running"] = "batch",
        momentum: float | None = 0.1,
        weighted: bool = True,
        gradient: bool = True,
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise unknown("mode of a mixture norm", mode, MODES)
        self.channels, self.mode, self.momentum, self.weighted = channels, mode, momentum, weighted
        self.gradient = gradient
        if mode != "instance":
            self.register_buffer("variance", torch.ones(channels))
            self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def reset_running_stats(self) -> None:
        """Forget all batches."""
        if self.mode != "instance":
            self.variance.fill_(1)
            self.batches.zero_()

    def forward(
        self,
        mixture: Mixture,  # [B, F, N]
    ) -> Mixture:  # [B, F, N]
        if mixture.weights.dim() != 3 or mixture.weights.shape[1] != self.channels:
            shape = list(mixture.weights.shape)
            raise InputError(f"MixtureNorm: the weights are {shape}; expected [B, {self.channels}, N]")
        if self.mode == "instance":
            variance = mean_variance(mixture, (2,), self.weighted)  # [B, F]
        elif not self.training:
            variance = self.variance
        elif not len(mixture.weights) and not self.across_ranks:
            raise InputError("MixtureNorm: an empty batch has no average to train with; leave it out")
        else:
            average = _mean_variance_of_ranks if self.across_ranks else mean_variance
            variance = average(mixture, (0, 2), self.weighted)  # [F]
            self._track(variance.detach())
            variance = self.variance if self.mode == "running" else variance
        if not self.gradient:
            variance = variance.detach()
        return rescale(mixture, variance.rsqrt().expand(mixture.batch_shape))

    @torch.no_grad()
    def _track(
        self,
        variance: Tensor,  # [F]
    ) -> None:
        self.batches += 1
        momentum: float | Tensor | None = self.momentum
        if self.mode == "batch" or momentum is None:
            # A plain mean of the first batches: the initial value of the buffer never counts.
            momentum = torch.clamp(1 / self.batches.to(variance.dtype), min=self.momentum or 0.0)
        self.variance += momentum * (variance - self.variance)

    def extra_repr(self) -> str:
        options = ", ".join(f"{name}={getattr(self, name)}" for name in ("momentum", "weighted", "gradient"))
        return f"{self.channels}, mode={self.mode!r}, {options}"


def _mean_variance_of_ranks(
    mixture: Mixture,  # [B, F, N]
    over: tuple[int, ...],
    weighted: bool,
) -> Tensor:  # [B, F, N] without the dimensions in ``over``
    """The same average, over all ranks."""
    variances = mixture.covariances.diagonal(dim1=-2, dim2=-1).mean(-1)
    ones = torch.ones_like(variances)
    shares = mixture.weights.abs() if weighted else ones
    parts = (shares * variances, shares, variances, ones)
    weighed, mass, plain, count = ranks.total(torch.stack([part.sum(over) for part in parts]))
    return torch.where(mass > 0, weighed, plain) / torch.where(mass > 0, mass, count)


def mean_activation(
    mixture: Mixture,  # [..., N]
) -> Tensor:  # [...]
    """Average value of a mixture f where its mass is: the integral of f², over that of its weights' magnitudes.

    The squared L2 norm of a mixture has the closed form sum_nm w_n w_m normal(p_n; p_m, C_n + C_m). Memory N² (D² + D).
    """
    weights, positions, covariances = mixture
    pairs = Mixture(
        weights[..., None, :].expand(*weights.shape, -1),
        positions[..., None, :, :].expand(*weights.shape, *positions.shape[-2:]),
        covariances[..., None, :, :, :] + covariances[..., :, None, :, :],
    )  # [..., N, N]
    values = ops.evaluate(pairs, positions[..., :, None, :])[..., 0]  # [..., N]
    return (weights * values).sum(-1) / weights.abs().sum(-1).clamp(min=torch.finfo(weights.dtype).tiny)


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation of rows [R, C]; ``across_ranks`` takes its statistics over the rows of all ranks.

    torch's own ``SyncBatchNorm`` does so on GPUs only.
    """

    across_ranks = False
    # As torch's own has them unless it is told not to track or average: never None here.
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(
        self,
        rows: Tensor,  # [R, C]
    ) -> Tensor:  # [R, C]
        if not (self.training and self.across_ranks):
            return super().forward(rows)
        sums = ranks.total(torch.cat([rows.sum(0), rows.new_tensor([len(rows)])]))
        mean, count = sums[:-1] / sums[-1], sums[-1].detach()
        centred = rows - mean
        variance = ranks.total(centred.square().sum(0)) / count  # not from a sum of squares, which loses digits
        self._track(mean.detach(), (variance * count / (count - 1)).detach())
        return centred * (variance + self.eps).rsqrt() * self.weight + self.bias

    @torch.no_grad()
    def _track(
        self,
        mean: Tensor,  # [C]
        variance: Tensor,  # [C]
    ) -> None:
        self.num_batches_tracked += 1
        momentum = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)


@contextlib.contextmanager
def averaged_statistics(model: nn.Module) -> Iterator[None]:
    """Batch statistics of ``model`` become plain means over the batches that it is given in the block.

    They take the place of the running averages of training, which are of its last batches (Wu and Johnson, "Rethinking
    'Batch' in BatchNorm", 2021, section 3). The model is in evaluation mode afterwards.
    :func:`torch.optim.swa_utils.update_bn` does the same, for torch's own norms alone.
    """
    norms = [module for module in model.modules() if isinstance(module, (MixtureNorm, nn.modules.batchnorm._BatchNorm))]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    try:
        model.train()
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.eval()


def synchronise(model: nn.Module) -> None:
    """Take batch statistics of ``model`` over all ranks of torch.distributed's default group.

    The loss of B shapes on W ranks is then that of one process where each rank's is its sum times W / B, for an
    average of gradients as :class:`torch.nn.parallel.DistributedDataParallel` takes it.
    """
    for module in model.modules():
        if isinstance(module, (MixtureNorm, BatchNorm)):
            module.across_ranks = True
