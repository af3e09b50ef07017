"""What can be set about a training, with its defaults and its learning-rate curve."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from gmcn.data.augmentation import Augmentation
from gmcn.errors import InputError, unknown

FOLD = r"[1-9][0-9]{0,3} of [1-9][0-9]{0,3}"
DUPLICATES = ("together", "ignored")
SCHEDULES = ("cosine", "constant", "step", "plateau")


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of one training; the section ``training`` of a variant.

    ``kernel_decay`` is the factor of the current learning rate that pulls kernels along equation (8);
    ``gradient_clip`` the largest gradient norm (0: no clipping); ``early_batches`` ends every epoch after that many
    batches (for a quick look); ``step_epochs`` and ``step_factor`` belong to the schedule "step" (None: a third of
    the epochs), ``plateau_patience`` and ``step_factor`` to "plateau", which watches the validation loss.
    ``micro_batches`` is the number of parts in which a batch goes through the network, one after the other: less
    memory, the same mean gradient, but batch statistics of a part. ``devices`` on each of ``nodes`` divide a batch
    among them, which changes nothing but the time. ``augmentation`` varies the shapes that are trained on, never those
    that are validated on (None: nothing). ``fold`` takes the place of ``validation_fraction``: "2 of 5" validates
    on the second of five parts of the training split (:func:`gmcn.data.folds.fold_of`), of which none has a
    near-duplicate of an object in another unless ``fold_duplicates`` are "ignored".
    """

    epochs: int = 60
    batch_size: int = 21
    micro_batches: int = 1
    devices: int = 1
    nodes: int = 1
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    warmup_epochs: float = 1.0
    kernel_decay: float = 0.1
    validation_fraction: float = 0.1
    label_smoothing: float = 0.0
    gradient_clip: float = 0.0
    checkpoint_minutes: float = 5.0
    early_batches: int | None = None
    step_epochs: int | None = None
    step_factor: float = 0.1
    plateau_patience: int = 5
    augmentation: Augmentation | None = None
    fold: str | None = None
    fold_duplicates: str = "together"

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> TrainingSettings:
        """Settings from a mapping; raises :class:`InputError` for unknown names and impossible values."""
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise unknown("training setting", name, known)
        augmentation = values.get("augmentation")
        if augmentation is not None:
            values = {**values, "augmentation": Augmentation.read(augmentation)}
        settings = cls(**values)
        settings.check()
        return settings

    def check(self) -> None:
        """Raise :class:`InputError` for the first value that cannot be."""
        if self.schedule not in SCHEDULES:
            raise unknown("schedule", self.schedule, SCHEDULES)
        if self.fold_duplicates not in DUPLICATES:
            raise unknown("value of training.fold_duplicates", self.fold_duplicates, DUPLICATES)
        if self.fold is not None:
            self._check_fold()
        bounds = {
            "epochs": (1, math.inf),
            "batch_size": (max(2, self.devices * self.nodes), math.inf),
            "micro_batches": (1, self.batch_size // max(2, self.devices * self.nodes)),
            "devices": (1, math.inf),
            "nodes": (1, math.inf),
            "learning_rate": (0, math.inf),
            "warmup_epochs": (0, self.epochs),
            "kernel_decay": (0, math.inf),
            "validation_fraction": (0, 0.9),
            "label_smoothing": (0, 1),
            "gradient_clip": (0, math.inf),
            "checkpoint_minutes": (0, math.inf),
            "early_batches": (1, math.inf),
            "step_epochs": (1, math.inf),
            "step_factor": (0, 1),
            "plateau_patience": (0, math.inf),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise InputError(f"training.{name} is {value}; it has to lie between {low} and {high}")
        if self.schedule == "plateau" and not (self.validation_fraction or self.fold):
            raise InputError(
                "training.schedule 'plateau' watches the validation loss, but training.validation_fraction is 0; "
                "set it, for example to 0.1"
            )

    def _check_fold(self) -> None:
        fits = isinstance(self.fold, str) and re.fullmatch(FOLD, self.fold)
        if not fits or not self.place[0] <= self.place[1] >= 2:
            raise InputError(
                f"training.fold is '{self.fold}'; it has to be a fold and the number of all folds, as in '2 of 5'"
            )

    @property
    def place(self) -> tuple[int, int]:
        """The fold, from 1, and the number of folds."""
        fold, folds = str(self.fold).split(" of ")
        return int(fold), int(folds)

    def as_dict(self) -> dict[str, Any]:
        """All settings by name, defaults included."""
        return asdict(self)

    def learning_rate_at(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of optimiser step ``step`` (from 0), before any reduction on a plateau.

        A function of the step alone, so that a resumed training continues the same curve.
        """
        warmup = round(self.warmup_epochs * steps_per_epoch)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        if self.schedule == "cosine":
            total = self.epochs * steps_per_epoch
            return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
        if self.schedule == "step":
            length = self.step_epochs or math.ceil(self.epochs / 3)
            return self.learning_rate * self.step_factor ** (step // (length * steps_per_epoch))
        return self.learning_rate
