"""The settings of a training, with their defaults, and the learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from gmcn.data.augmentation import Augmentation
from gmcn.data.views import Views
from gmcn.declared import DISTINCT, FILLED, above, at_least, at_most, below, check, matching
from gmcn.errors import InputError


@dataclass(frozen=True)
class TrainingSettings:
    """Training (paper, section 5)."""

    epochs: Annotated[int, at_least(1), "Passes over the training set."] = 60
    batch_size: Annotated[int, at_least(2), "Shapes per step (B), of all devices together."] = 21
    micro_batches: Annotated[
        int,
        at_least(1),
        "Parts in which a batch goes through the network, for less memory: the gradient is the mean of theirs, batch "
        "statistics are those of a part. Doubles by itself when the device is out of memory.",
    ] = 1
    devices: Annotated[
        int, at_least(1), "Devices of a node that divide each batch among them; changes the time, not the result."
    ] = 1
    nodes: Annotated[int, at_least(1), "Nodes of a cluster that train together, each with `devices`."] = 1
    learning_rate: Annotated[float, above(0), "The optimiser's highest learning rate."] = 1e-3
    optimizer: Annotated[
        Literal["adam", "muon", "sgd", "wasserstein", "em"],
        "Adam; Muon for the weights of GMCN's kernels and Adam for the rest; plain gradient descent; the Wasserstein "
        "gradient flow of Gaussian mixture layers (plain descent for all others); em, for networks that are mixtures "
        "of all objects: an epoch is an iteration, batches and rates play no part.",
    ] = "adam"
    weight_decay: Annotated[
        float,
        at_least(0),
        "Decay of parameters, as a multiple of the learning rate; for the flow, of the measure's second moment.",
    ] = 0.0
    fisher_rao: Annotated[
        float,
        at_least(0),
        "Rate at which the flow moves the components' weights, as a multiple of the learning rate; 0: not.",
    ] = 0.0
    schedule: Annotated[
        Literal["cosine", "constant", "step", "plateau"],
        "Course of the learning rate after the warm-up; never looks at the test set. `plateau` watches the validation "
        "loss, or with `fold` that of training.",
    ] = "cosine"
    warmup_epochs: Annotated[
        float, at_least(0), "Epochs in which the learning rate rises linearly; at most all of them."
    ] = 1.0
    kernel_decay: Annotated[
        float, at_least(0), "Decay of the kernels, equation (8), as a multiple of the learning rate."
    ] = 0.1
    validation_fraction: Annotated[
        float, at_least(0), at_most(0.9), "Share of the training set that is kept for validation."
    ] = 0.1
    label_smoothing: Annotated[
        float, at_least(0), below(1), "Share of the target probability spread over all classes."
    ] = 0.0
    logit_adjustment: Annotated[
        float,
        at_least(0),
        "The logarithms of the classes' frequencies are added to the logits this many times, in training: with 1 the "
        "network answers as if all classes were equally frequent (Menon et al. 2021).",
    ] = 0.0
    ema_decay: Annotated[
        float,
        at_least(0),
        below(1),
        "What is validated and kept is an exponential moving average of the network, of which this share stays in "
        "every step; 0: the network itself.",
    ] = 0.0
    batch_statistics: Annotated[
        Literal["running", "all"],
        "What evaluation normalises by: running averages of the last batches; or averages over all training objects as "
        "they are, neither augmented nor views, taken when the training is over.",
    ] = "running"
    gradient_clip: Annotated[float, at_least(0), "Largest norm of the gradient; 0 does not clip."] = 0.0
    checkpoint_minutes: Annotated[
        float, at_least(0), "Minutes between checkpoints within an epoch; 0: only at the ends of epochs."
    ] = 5.0
    snapshots: Annotated[
        Sequence[Annotated[int, at_least(0), "A number of epochs."]],
        DISTINCT,
        "After which epochs the network is kept beside the trained one, in `snapshots`; 0: before the first step.",
    ] = ()
    early_batches: Annotated[
        int | None, at_least(1), "Stop every epoch after so many steps (for trying things out); null: never."
    ] = None
    step_epochs: Annotated[
        int | None, at_least(1), "Epochs between reductions of the schedule `step`; null: a third of all."
    ] = None
    step_factor: Annotated[
        float, above(0), below(1), "Factor of a reduction by the schedules `step` and `plateau`."
    ] = 0.1
    plateau_patience: Annotated[int, at_least(0), "Epochs without a better loss before `plateau` reduces."] = 5
    augmentation: Annotated[
        Augmentation | None,
        "How training shapes are varied, anew in every epoch, never those that are validated on; null: not at all.",
    ] = None
    views: Annotated[
        Views | None,
        "What the network sees of each cloud while it is trained. The mixtures of a classifier are fitted to it anew "
        "in every epoch. null: its artifact as it is, or 512 points where the task is generation or registration.",
    ] = None
    classes: Annotated[
        Sequence[Annotated[int | str, at_least(0), "A class's name, or its place from 0."]] | None,
        FILLED,
        DISTINCT,
        "The classes, by place (from 0) or name, whose objects are trained on; null: all. Those of a density's other "
        "classes are its outliers.",
    ] = None
    fold: Annotated[
        str | None,
        matching("^[1-9][0-9]{0,3} of [1-9][0-9]{0,3}$"),
        "a fold and the number of all, as in '2 of 5': that part of the training split is validated on, instead of a "
        "`validation_fraction`; the folds are the same for all variants and seeds.",
    ] = None
    fold_duplicates: Annotated[
        Literal["together", "ignored"],
        "Whether objects that are nearly the same lie in one fold, so that none is judged by a network that has seen "
        "another of them.",
    ] = "together"

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> TrainingSettings:
        """Settings from a mapping; raises :class:`InputError` for unknown names and impossible values."""
        check(cls, values, "training")
        parts: dict[str, Any] = {"augmentation": Augmentation, "views": Views}
        read = {name: part.read(values[name]) for name, part in parts.items() if values.get(name) is not None}
        values = {**values, **read}
        settings = cls(**{**values, "snapshots": tuple(sorted(values.get("snapshots", ())))})
        settings.check()
        return settings

    def check(self) -> None:
        """Raise :class:`InputError` where two values cannot be together."""
        processes = self.devices * self.nodes
        if self.batch_size < processes:
            raise InputError(
                f"training: 'batch_size' is {self.batch_size}, but must be at least 1 for each of the "
                f"{processes} devices"
            )
        if self.micro_batches > (most := self.batch_size // max(2, processes)):
            raise InputError(
                f"training: 'micro_batches' is {self.micro_batches}, but must be at most {most} for a "
                f"'batch_size' of {self.batch_size}"
            )
        if self.warmup_epochs > self.epochs:
            raise InputError(
                f"training: 'warmup_epochs' is {self.warmup_epochs}, but must be at most the {self.epochs} 'epochs'"
            )
        if max(self.snapshots, default=0) > self.epochs:
            raise InputError(
                f"training: 'snapshots' has {max(self.snapshots)}, but must be at most the {self.epochs} 'epochs'"
            )
        if self.optimizer == "em" and (processes > 1 or self.snapshots or self.augmentation):
            several = "devices" if self.devices > 1 else "nodes"
            key = several if processes > 1 else "snapshots" if self.snapshots else "augmentation"
            raise InputError(f"training: the 'optimizer' em has no {key!r}; leave it out, or take another one")
        if self.ema_decay and (self.snapshots or self.optimizer == "em"):
            other = "snapshots" if self.snapshots else "optimizer"
            raise InputError(f"training: 'ema_decay' averages steps, which {other!r} knows nothing of; leave one out")
        if self.fisher_rao and self.optimizer != "wasserstein":
            raise InputError("training: 'fisher_rao' is a rate of the 'optimizer' wasserstein; set it, or leave it out")
        if self.fold is not None and not self.place[0] <= self.place[1] >= 2:
            raise InputError(
                f"training: 'fold' is '{self.fold}', but there is no such fold; of five they are '1 of 5' ..."
            )
        if self.schedule == "plateau" and self.logit_adjustment:
            raise InputError(
                "training: the 'schedule' plateau watches the loss of the answers, which 'logit_adjustment' does not "
                "train for; take another schedule, or leave it out"
            )
        if self.schedule == "plateau" and not (self.validation_fraction or self.fold):
            raise InputError(
                "training: the 'schedule' plateau watches the validation loss, but 'validation_fraction' is 0; "
                "set it, for example to 0.1"
            )

    @property
    def place(self) -> tuple[int, int]:
        """The fold, from 1, and the number of folds."""
        fold, folds = str(self.fold).split(" of ")
        return int(fold), int(folds)

    def as_dict(self) -> dict[str, Any]:
        """All settings by name, defaults included."""
        classes = None if self.classes is None else list(self.classes)
        return {**asdict(self), "snapshots": list(self.snapshots), "classes": classes}

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
