"""Finding the checkpoint that a training may go on from."""

from __future__ import annotations

import logging
import os
import pickle
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gmcn.artifacts import key_of, sha256
from gmcn.errors import InputError
from gmcn.models import DEFAULT_KIND
from gmcn.training.callbacks import LastCheckpoint
from gmcn.training.settings import TrainingSettings

log = logging.getLogger(__name__)

# What the readers of zip files and of restricted pickles raise for content that is not theirs.
DAMAGE = (
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    RuntimeError,
    OSError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    zlib.error,
)
NAMES = ("last.ckpt", "previous.ckpt")


def training_key(mixtures: str | os.PathLike, settings: Mapping[str, Any], seed: int) -> str:
    """What a checkpoint belongs to: network, training settings, seed and the content of the mixtures."""
    training = TrainingSettings.read(settings.get("training", {})).as_dict()
    training.pop("checkpoint_minutes")  # when to save changes nothing about what is computed
    if training["augmentation"] is None:  # checkpoints from before there was any stay good
        training.pop("augmentation")
    network = dict(settings.get("network", {}))
    if network.get("kind") == DEFAULT_KIND:  # the same, whether it is said or not
        network.pop("kind")
    return key_of(network, training, seed, sha256(mixtures))


def find_checkpoint(folder: str | os.PathLike, key: str) -> Path | None:
    """The latest readable checkpoint in ``folder`` that belongs to ``key``, or None where there is none.

    A damaged ``last.ckpt`` gives way to the checkpoint before it. Raises :class:`InputError` when there are only
    damaged ones: whether to lose that training is the user's decision.
    """
    damaged = []
    for path in (Path(folder) / name for name in NAMES):
        if not path.exists():
            continue
        found = _key_in(path)
        if found is None:
            damaged.append(path)
            log.warning("%s is damaged and not used", path)
        elif found == key:
            return path
        else:
            log.warning("%s belongs to other settings or other data: training starts afresh", path)
            return None
    if damaged:
        raise InputError(f"{damaged[0]} is damaged, and so the training cannot resume; delete it to start afresh")
    return None


def resumable(
    mixtures: str | os.PathLike, *, settings: Mapping[str, Any], seed: int, output: str | os.PathLike
) -> bool:
    """Whether :func:`gmcn.training.train` with these arguments would go on from a checkpoint."""
    return find_checkpoint(output, training_key(mixtures, settings, seed)) is not None


def _key_in(path: Path) -> str | None:
    """The key stored in a checkpoint; None if the file is damaged or none of ours."""
    try:
        with zipfile.ZipFile(path) as archive:
            # torch.load does not look at the checksums in its file: a flipped bit would go on training.
            if archive.testzip() is not None:
                return None
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        return checkpoint["callbacks"][LastCheckpoint.__qualname__]["key"]
    except DAMAGE:
        return None
