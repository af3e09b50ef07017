"""Joining the other processes of a training, one per device, that torchrun or SLURM started."""

from __future__ import annotations

import atexit
import os

import torch
from lightning.pytorch.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from torch import distributed

from gmcn import ranks
from gmcn.device import select_device
from gmcn.errors import InputError


def join(name: str, devices: int, nodes: int) -> torch.device:
    """The device of this process, one of ``devices`` on each of ``nodes``; ``name`` as for :func:`select_device`.

    Becomes a rank of torch.distributed's default group at the first call, for as long as the process lives. Raises
    :class:`InputError` where another number of processes was started, or the node has fewer GPUs.
    """
    place = ranks.check_launch(devices, nodes)
    device = select_device(name)
    if place.world == 1:
        return device
    if device.type == "cuda":
        if torch.cuda.device_count() < devices:
            raise InputError(
                f"training.devices is {devices}, but rank {place.rank} sees {torch.cuda.device_count()} GPUs; "
                "ask for GPUs per node and not per task, or take --device cpu"
            )
        device = torch.device("cuda", place.local)
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        ranks.follow_parent()
        environment = cluster_environment()
        os.environ.update(MASTER_ADDR=environment.main_address, MASTER_PORT=str(environment.main_port))
        backend = "nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, rank=place.rank, world_size=place.world)
        atexit.register(distributed.destroy_process_group)
    return device


def cluster_environment() -> ClusterEnvironment:
    """How Lightning finds the other processes. It must never requeue a SLURM job, also where there are no others."""
    if ranks.launched().world == 1:
        return LightningEnvironment()
    if distributed.is_torchelastic_launched():
        return TorchElasticEnvironment()
    if "SLURM_NTASKS_PER_NODE" not in os.environ:  # Lightning's own demand
        raise InputError("srun started these processes without saying how many there are per node: --ntasks-per-node=N")
    return SLURMEnvironment(auto_requeue=False)
