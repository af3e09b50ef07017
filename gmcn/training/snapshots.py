"""The network as it is on its way, kept in files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L

from gmcn.artifacts import save_tensors
from gmcn.stages.paths import snapshot_of
from gmcn.training.step import TrainingStep


class Snapshots(L.Callback):
    """Keeps the network as it is after some epochs, in files beside the one of the trained network.

    A training that goes on from a checkpoint begins with the same network, so that it writes that of epoch 0 again;
    those of later epochs are written before their checkpoint. Files of other epochs, which another training has left,
    are deleted. Only rank 0 writes.
    """

    def __init__(self, folder: Path, epochs: Sequence[int], metadata: Mapping[str, Any]) -> None:
        self.folder, self.epochs, self.metadata = folder, epochs, metadata

    def setup(self, trainer: L.Trainer, module: TrainingStep, stage: str) -> None:
        """Before a checkpoint is read."""
        if trainer.is_global_zero:
            kept = {snapshot_of(self.folder, epoch) for epoch in self.epochs}
            for path in set(snapshot_of(self.folder, "*").parent.glob("*.safetensors")) - kept:
                path.unlink()
            self._save(0, module)

    def on_train_epoch_end(self, trainer: L.Trainer, module: TrainingStep) -> None:
        """After the last step of an epoch."""
        if trainer.is_global_zero:
            self._save(trainer.current_epoch + 1, module)

    def _save(self, epoch: int, module: TrainingStep) -> None:
        if epoch in self.epochs:
            save_tensors(snapshot_of(self.folder, epoch), module.model.state_dict(), {**self.metadata, "epoch": epoch})
