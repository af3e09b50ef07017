"""Callbacks that write the history and the last checkpoint of a running training."""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import resource
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from rich.progress import TaskID

from gmcn import ranks
from gmcn.artifacts import write_text
from gmcn.console import LEFT
from gmcn.progress import Progress
from gmcn.tracking import NO_RUN, Run
from gmcn.training.errors import Interrupted, NonFiniteError
from gmcn.training.step import TrainingStep

log = logging.getLogger(__name__)

FORMAT = 3  # of checkpoints; goes up when an older one cannot be continued


class History(L.Callback):
    """One row per epoch in ``history.csv``, the same to the log and the tracking run; and the loss of each step.

    The rows are part of the checkpoint: a resumed training writes the file anew from them, so that it never
    holds an epoch that the network has not seen, nor one twice. ``seconds`` adds up over all attempts. Only rank 0
    writes.
    """

    def __init__(self, path: Path, run: Run = NO_RUN) -> None:
        self.path, self.run = path, run
        self.rows: list[dict[str, Any]] = []
        self.seconds_before = 0.0
        self.started: float | None = None

    @property
    def seconds(self) -> float:
        """Time spent in training so far, earlier attempts included up to their last checkpoint."""
        return self.seconds_before + (0.0 if self.started is None else time.monotonic() - self.started)

    def on_fit_start(self, trainer: L.Trainer, module: TrainingStep) -> None:
        """Write the rows that the checkpoint knows, also where there is nothing left to train."""
        if trainer.is_global_zero:
            self.write(module)

    def write(self, module: TrainingStep) -> None:
        """Write the file anew."""
        text = io.StringIO()
        columns = ["epoch", "step", *module.epoch_metrics(), "learning_rate", "seconds"]
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())

    def on_train_start(self, trainer: L.Trainer, module: TrainingStep) -> None:
        """Start the clock."""
        self.start()

    def start(self) -> None:
        """Start the clock."""
        self.started = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, module: TrainingStep, *_: Any) -> None:
        """Pass the loss and the learning rate of the step on to the tracking run."""
        metrics = {"train/loss": module.last_loss, "train/learning_rate": module.last_rate}
        self.run.log_metrics(metrics, step=trainer.global_step)

    def on_train_epoch_end(self, trainer: L.Trainer, module: TrainingStep) -> None:
        """Add the row of the epoch."""
        row = self.add(trainer.current_epoch + 1, trainer.global_step, module, module.last_rate)
        if not trainer.is_global_zero:
            return
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, row, lineterminator="\n").writerow(row)
        self.say(module)

    def add(self, epoch: int, step: int, module: TrainingStep, rate: float | None) -> dict[str, Any]:
        """The row of an epoch that has ended."""
        seconds = round(self.seconds, 3)
        self.rows.append(
            {"epoch": epoch, "step": step, **module.epoch_metrics(), "learning_rate": rate, "seconds": seconds}
        )
        return self.rows[-1]

    def correct(self, module: TrainingStep) -> None:
        """What the last row says of validation, once the network has changed after it."""
        measured = {name: value for name, value in module.epoch_metrics().items() if name.startswith("validation")}
        self.rows[-1] |= measured
        if ranks.rank() == 0:
            self.write(module)
            known = {f"epoch/{name}": value for name, value in measured.items() if value is not None}
            self.run.log_metrics(known, step=self.rows[-1]["step"])

    def say(self, module: TrainingStep) -> None:
        """The last row to the log and the tracking run."""
        row, measured = self.rows[-1], module.epoch_metrics()
        metrics = {f"epoch/{name}": row[name] for name in list(row)[2:] if row[name] is not None}
        self.run.log_metrics(metrics, step=row["step"])
        numbers = ", ".join(f"{name} {value:.4f}" for name, value in measured.items() if value is not None)
        took = row["seconds"] - (self.rows[-2]["seconds"] if len(self.rows) > 1 else 0.0)
        said = row["epoch"], module.settings.epochs, numbers, took, row["seconds"]
        log.info("epoch %d of %d: %s (%.1f s, %.0f s in all)", *said)

    def state_dict(self) -> dict[str, Any]:
        """Rows and time so far."""
        return {"rows": self.rows, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what ``state_dict`` gave."""
        self.rows, self.seconds_before = list(state_dict["rows"]), state_dict["seconds"]


class Steps(L.Callback):
    """Says in a log, now and then, how far a long epoch is."""

    def __init__(self) -> None:
        self.progress, self.task, self.epoch = Progress(), TaskID(0), -1

    def on_train_batch_end(self, trainer: L.Trainer, module: TrainingStep, _: Any, batch: Any, batch_idx: int) -> None:
        """Count the step, of an epoch that may be gone on with."""
        if self.epoch != trainer.current_epoch:
            self.epoch = trainer.current_epoch
            total = trainer.num_training_batches
            self.task = self.progress.add_task(f"in epoch {self.epoch + 1}", total=total, completed=batch_idx)
        self.progress.advance(self.task)


class LastCheckpoint(Checkpoint):
    """Keeps ``last.ckpt``: at each epoch's end, every few minutes, and when a signal asks the process to go.

    A checkpoint with a parameter that is not finite is never written. With several ranks, the clock of rank 0 says
    when it is time, a signal that any of them got counts for all, and rank 0 writes.
    """

    def __init__(self, path: Path, key: str, minutes: float, code: str, device: torch.device) -> None:
        self.path, self.key, self.minutes, self.code, self.device = path, key, minutes, code, device
        self.finished_by: str | None = None
        self.saved_at = time.monotonic()
        self.signal_number: int | None = None
        self.at_once = False
        self.attempts = 0
        self.peak_before = 0
        self.random_states: list[dict[str, Any]] = []
        if device.type == "cuda":  # which counts since the process began
            torch.cuda.reset_peak_memory_stats(device)

    def on_train_start(self, trainer: L.Trainer, module: TrainingStep) -> None:
        """Start the clock and continue the random numbers of the checkpoint."""
        self.attempts += 1
        self.saved_at = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            # Lightning has put its own handler around ours, which ends the fit between a batch and its checkpoint.
            signal.signal(signal.SIGTERM, self._note)
        if len(self.random_states) == ranks.size():  # else each goes on with what its seed gave
            mine = self.random_states[ranks.rank()]
            torch.set_rng_state(mine["cpu"])
            if "cuda" in mine and self.device.type == "cuda":
                torch.cuda.set_rng_state(mine["cuda"])

    def on_train_batch_end(
        self, trainer: L.Trainer, module: TrainingStep, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save within the epoch when it is time or a signal came; after the last batch, its end will."""
        if batch_idx + 1 == trainer.num_training_batches:
            return
        # The time of day may jump; this clock only goes on.
        due = self.minutes and time.monotonic() - self.saved_at >= 60 * self.minutes
        due, number = self._agree(bool(due), module.device)
        if due or number:
            self.save(trainer)
        self._leave_if_asked(number)

    def on_train_epoch_end(self, trainer: L.Trainer, module: TrainingStep) -> None:
        """Save the whole epoch."""
        _, number = self._agree(True, module.device)
        if trainer.current_epoch + 1 == trainer.max_epochs:
            self.finished_by = self.code
        self.save(trainer)
        self._leave_if_asked(number)

    def save(self, trainer: L.Trainer) -> None:
        """Write the state of this moment to ``last.ckpt``."""
        for name, tensor in trainer.lightning_module.model.state_dict().items():
            if not tensor.isfinite().all():
                raise NonFiniteError(
                    f"training stopped at step {trainer.global_step}: '{name}' is not finite after the "
                    "last update; the last good checkpoint is kept, try a lower training.learning_rate"
                )
        trainer.save_checkpoint(self.path)
        self.saved_at = time.monotonic()

    def _agree(self, due: bool, device: torch.device) -> tuple[bool, int]:
        """Whether rank 0 is due to save, and the signal that any rank got (0: none); all ranks return the same."""
        if ranks.size() > 1:
            values = torch.zeros(ranks.size(), 2, dtype=torch.int64, device=device)
            values[ranks.rank()] = torch.tensor([due, self.signal_number or 0], device=device)
            values = ranks.total(values).tolist()
            return bool(values[0][0]), max(number for _, number in values)
        return due, self.signal_number or 0

    def _leave_if_asked(self, number: int) -> None:
        if number:
            log.warning("stopped by %s%s%s", signal.Signals(number).name, LEFT, self.path)
            raise Interrupted(number)

    @contextlib.contextmanager
    def listening(self, *, at_once: bool = False) -> Iterator[None]:
        """Take the signals that ask to stop, until the end of the block; a second Ctrl-C stops at once, or any signal.

        :class:`Interrupted` leaves the block as the ``SystemExit`` or ``KeyboardInterrupt`` that the signal stands for.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signals, self.at_once = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1), at_once
        before = {number: signal.signal(number, self._note) for number in signals}
        try:
            yield
        except Interrupted as stop:
            if stop.signal_number == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise SystemExit(128 + stop.signal_number) from None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, _frame: Any) -> None:
        # SLURM sends SIGTERM twice at a time limit, to the job and to its step: only a person is in such a hurry.
        if self.at_once or (self.signal_number is not None and number == signal.SIGINT):
            raise Interrupted(number)
        self.signal_number = number

    def state_dict(self) -> dict[str, Any]:
        """Whose checkpoint this is, and what torch's random numbers go on with on each rank."""
        random_state = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random_state["cuda"] = torch.cuda.get_rng_state()
        return {
            "format": FORMAT,
            "key": self.key,
            "code": self.code,
            "finished_by": self.finished_by,
            "attempts": self.attempts,
            "peak_memory": self.peak_memory(),
            "random_states": ranks.gather(random_state),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what ``state_dict`` gave."""
        self.attempts, self.peak_before = state_dict["attempts"], state_dict["peak_memory"]
        self.random_states = state_dict["random_states"]

    def peak_memory(self) -> int:
        """Largest memory of any attempt and rank in bytes: allocated on the GPU, or of the process on the CPU."""
        if self.device.type == "cuda":
            now = torch.cuda.max_memory_allocated()
        else:
            now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return max(self.peak_before, *ranks.gather(now))
