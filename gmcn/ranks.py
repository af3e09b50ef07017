"""The processes that train one network together, one per device: who they are, and sums over all of them.

A process that was started alone is rank 0 of 1; every function then returns its argument.
"""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed

from gmcn.errors import InputError
from gmcn.launching import launcher

# Who starts processes, and under which names it tells them their place: torchrun first, it may run within a job.
_STARTERS = (
    ("TORCHELASTIC_RUN_ID", "RANK", "LOCAL_RANK", "WORLD_SIZE"),
    ("SLURM_STEP_ID", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NUM_TASKS"),
)


class Launch(NamedTuple):
    """The place of a process among those that were started together."""

    rank: int = 0
    local: int = 0  # on its node
    world: int = 1


def launched() -> Launch:
    """The place of this process, as torchrun or srun tells it."""
    for mark, *names in _STARTERS:
        if mark in os.environ and all(name in os.environ for name in names):
            return Launch(*(int(os.environ[name]) for name in names))
    return Launch()


def check_launch(devices: int, nodes: int) -> Launch:
    """The place of this process; :class:`InputError` unless ``devices`` times ``nodes`` processes were started."""
    place = launched()
    if place.world == devices * nodes:
        return place
    if place.world > 1:
        raise InputError(
            f"{place.world} processes were started, but training.devices is {devices} and training.nodes {nodes}; "
            f"start {devices * nodes}, or set devices and nodes to match"
        )
    raise InputError(
        f"training.devices is {devices} and training.nodes {nodes}, which takes as many processes; "
        f"start them with `{launcher(devices, nodes)} train ...`"
    )


def follow_parent() -> None:
    """Receive SIGTERM when the parent process dies, so that an orphan does not keep training beside its successor."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def size() -> int:
    """Number of processes that compute together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """The place of this process among them, from 0."""
    return distributed.get_rank() if size() > 1 else 0


def total(tensor: Tensor) -> Tensor:
    """The sum of the ranks' tensors, on every rank; its gradient is that of the sum of the ranks' losses."""
    return _Total.apply(tensor) if size() > 1 else tensor


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(_, tensor: Tensor) -> Tensor:
        tensor = tensor.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(tensor)
        return tensor

    @staticmethod
    def backward(_, gradient: Tensor) -> Tensor:
        return _Total.apply(gradient)


def gather(value: Any) -> list[Any]:
    """The ranks' values, by rank, on every rank; of any type, hence slow."""
    if size() == 1:
        return [value]
    values = [None] * size()
    distributed.all_gather_object(values, value)
    return values


def is_lost(error: Exception) -> bool:
    """True if this error means that another rank no longer answers."""
    return size() > 1 and (isinstance(error, distributed.DistError) or "gloo" in str(error))


def share(tensor: Tensor) -> Tensor:
    """This rank's part of the first dimension: the parts differ by one in size at most, and leave nothing out."""
    return tensor.tensor_split(size())[rank()]
