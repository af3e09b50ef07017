"""Checkpoints on disk: written whole or not at all, and found again by the training that may go on from them."""

from __future__ import annotations

import io
import logging
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

import gmcn
from gmcn.artifacts import atomic, key_of, of_content, sha256
from gmcn.launching import HOW
from gmcn.models import DEFAULT_KIND
from gmcn.tasks import DEFAULT_TASK
from gmcn.training.callbacks import FORMAT, LastCheckpoint
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
    ArithmeticError,
    AssertionError,
    struct.error,
    zlib.error,
)
LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


class AtomicCheckpoints(TorchCheckpointIO):
    """Lightning's way to the disk: a checkpoint takes the place of the one before, which stays as ``previous.ckpt``."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | os.PathLike, storage_options: Any = None) -> None:
        """Write the whole file, then rename it; after a failure the old file is still there. Raises OSError."""
        path = Path(path)
        with atomic(path) as temporary, open(temporary, "wb") as file:
            content = io.BytesIO()  # torch would report a full disk as an error of its own
            torch.save(checkpoint, content)
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
            if path.exists():
                os.replace(path, path.with_name(PREVIOUS))


def remove_checkpoints(folder: str | os.PathLike, *, but_last: bool = False) -> None:
    """Delete the checkpoints of a training that has ended, and what a killed one was about to write.

    The last one (``but_last`` keeps it) is what a job goes on from that is killed before its files count as made.
    """
    for pattern in (PREVIOUS, ".*.part", *(() if but_last else (LAST,))):
        for path in Path(folder).glob(pattern):
            path.unlink()


def code_key() -> str:
    """A key of the code that runs, with its compiled operations."""
    package = Path(gmcn.__file__).parent
    return key_of(*(sha256(path) for pattern in ("**/*.py", "*.so") for path in sorted(package.glob(pattern))))


# Settings that older trainings do not say, and what these did: their checkpoints are gone on with.
NEWER = {
    "snapshots": [],
    "optimizer": "adam",
    "weight_decay": 0.0,
    "fisher_rao": 0.0,
    "classes": None,
    "views": None,
    "logit_adjustment": 0.0,
    "ema_decay": 0.0,
    "batch_statistics": "running",
}


def training_key(
    artifact: str | os.PathLike, settings: Mapping[str, Any], seed: int, points: str | os.PathLike | None = None
) -> str:
    """The key of a training and its checkpoints: of task, network, training settings, seed and artifact's content.

    And of the content of ``points``, where ``training.views`` fits mixtures anew to them.
    """
    training = TrainingSettings.read(settings.get("training", {})).as_dict()
    for key in HOW:
        training.pop(key)
    for key, default in NEWER.items():
        if training[key] == default:
            training.pop(key)
    if training["augmentation"] and not training["augmentation"]["keep_size"]:
        training["augmentation"].pop("keep_size")
    network = dict(settings.get("network", {}))
    if network.get("kind") == DEFAULT_KIND:  # the same, whether it is said or not
        network.pop("kind")
    read = [sha256(artifact)]
    if training.get("views") and points is not None and (own := sha256(points)) not in read:
        read.append(own)
    return key_of(settings.get("task", DEFAULT_TASK), network, training, seed, *read)


def find_checkpoint(folder: str | os.PathLike, key: str) -> Path | None:
    """The latest readable checkpoint in ``folder`` that belongs to ``key``, or None where there is none.

    A damaged ``last.ckpt`` gives way to the checkpoint before it; where both are, the training starts afresh. So it
    does where other code has finished it: there is nothing left for the new code to do.
    """
    found, warnings = _search(Path(folder), key)
    for warning in warnings:
        log.warning("%s", warning)
    return found


def _search(folder: Path, key: str) -> tuple[Path | None, list[str]]:
    """The checkpoint, and why others are not used."""
    warnings: list[str] = []
    for path in (folder / name for name in (LAST, PREVIOUS)):
        if not path.exists():
            continue
        state = _state_in(path)
        if state is None:
            warnings.append(f"{path} is damaged, or of another version, and not used")
        elif state["key"] != key:
            return None, [*warnings, f"{path} belongs to other settings or other data: training starts afresh"]
        elif state.get("finished_by") not in (None, code_key()):
            return None, [*warnings, f"{path} is from a training that other code has finished: training starts afresh"]
        else:
            if state.get("finished_by") is None and state.get("code") not in (None, code_key()):
                warnings.append(f"{path} was written by other code than this; to start afresh, delete it")
            return path, warnings
    return None, warnings


def resumable(
    artifact: str | os.PathLike,
    *,
    settings: Mapping[str, Any],
    seed: int,
    output: str | os.PathLike,
    points: str | os.PathLike | None = None,
) -> bool:
    """True if :func:`gmcn.training.train` with these arguments would continue from a checkpoint."""
    key = training_key(artifact, settings, seed, points)
    return _search(Path(output), key)[0] is not None  # who trains says the warnings


@of_content
def _state_in(path: str | os.PathLike) -> dict[str, Any] | None:
    """The state in a checkpoint; None if the file is damaged or not one of ours."""
    try:
        with zipfile.ZipFile(path) as archive:
            # torch.load does not look at the checksums in its file: a flipped bit would go on training.
            if archive.testzip() is not None:
                return None
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        state = checkpoint["callbacks"][LastCheckpoint.__qualname__]
        return state if state["format"] == FORMAT and state["key"] else None
    except PermissionError:  # nothing is wrong with the file
        raise
    except DAMAGE:
        return None
