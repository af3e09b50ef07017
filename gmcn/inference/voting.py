"""Votes of a network on variations of a file's object, each as its training would have drawn it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gmcn import tasks
from gmcn.data.objects import POINTS, Inputs
from gmcn.errors import InputError, foreign
from gmcn.mixture import Mixture

MAX_VOTES = 1000


def varying(path: Path, metadata: Mapping[str, Any], votes: int) -> Callable[[Tensor, str], Inputs]:
    """A function of an object as it was sampled, [1, ...], and its kind, to its variations [votes, ...].

    ``metadata`` are those of the network's file. Its random numbers are the same for every object. Raises
    :class:`InputError` for a network that does not vote.
    """
    from gmcn.training.refitting import Refit, votes_of
    from gmcn.training.settings import TrainingSettings

    if not 1 <= votes <= MAX_VOTES:
        raise InputError(f"votes is {votes}, but must be from 1 to {MAX_VOTES:,}")
    task = metadata.get("task", tasks.DEFAULT_TASK)
    if not hasattr(tasks.measures(task), "voted"):
        raise InputError(f"{path} is a network for {task}, which has no votes; leave votes out")
    with foreign(f"{path} does not say well how it was trained"):
        training = TrainingSettings.read(metadata["settings"]["training"])
        prepare, fit = tasks.objective(training).prepare, metadata["inputs"]["fit"]
    refit = None if fit is None else Refit(fit, fit["components"], training.views)

    def vary(rows: Tensor, kind: str) -> Inputs:
        if refit is not None and kind != POINTS:
            raise InputError(f"votes are cast on new fits of points, and this network was trained on {kind}")
        parts = list(votes_of(prepare, rows, training, votes, refit))
        if isinstance(parts[0], Mixture):
            return Mixture(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
        return torch.cat(parts)

    return vary
