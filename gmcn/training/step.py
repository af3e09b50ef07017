"""The training step: the objective's gradient, the optimiser, and a stop at the first value that is not finite."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from gmcn import ranks, tasks
from gmcn.data.objects import Inputs, count, each
from gmcn.errors import is_out_of_memory
from gmcn.models import Network
from gmcn.nn.norm import averaged_statistics
from gmcn.tasks.task import Objective
from gmcn.training.errors import (
    NonFiniteError,
    OutOfMemoryError,
    first_non_finite_layer,
    is_numerical,
    non_finite_gradients,
)
from gmcn.training.optimizers import optimizer_of
from gmcn.training.settings import TrainingSettings

log = logging.getLogger(__name__)

Batch = tuple[Inputs, Tensor | None]  # of B objects, labels [B]


class TrainingStep(L.LightningModule):
    """Trains a network on batches of inputs, with labels where they have any, for an objective.

    The optimiser on all parameters, then what the network itself does after a step
    (:meth:`gmcn.models.Network.after_step_`). Sums of the running epoch are part of the checkpoint, so that a resumed
    epoch reports what an uninterrupted one does.

    Every rank is given the whole batch and computes its share of it. A batch goes through the network in
    ``settings.micro_batches`` parts, whose gradients add up to that of the batch; batch statistics are those of a
    part. The number doubles when the device's memory does not hold a part.
    """

    automatic_optimization = False

    def __init__(
        self, model: Network, settings: TrainingSettings, steps_per_epoch: int, objective: Objective | None = None
    ) -> None:
        super().__init__()
        self.model, self.settings, self.steps_per_epoch = model, settings, steps_per_epoch
        self.objective = objective or tasks.objective(settings)
        self.micro_batches = settings.micro_batches
        self.names = tuple(metric.name for metric in self.objective.metrics)
        self.sums = self._nothing()
        self.validation: dict[str, Tensor] = {}  # by metric, of every validated object [S] in the order of the data
        self._validated: list[tuple[Tensor, Tensor | None]] = []  # per batch, of this rank: values [M, B], labels [B]
        self.last_loss = self.last_rate = float("nan")
        self.batch: Batch | None = None
        self.plateau = _Plateau(settings, self.objective) if settings.schedule == "plateau" else None

    def _nothing(self) -> dict[str, float]:
        """The sums of an epoch before its first batch."""
        return dict.fromkeys((*self.names, "shapes"), 0.0)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """That of the settings. Its rate is set before each step, as a function of the step alone."""
        return optimizer_of(self.model, self.settings)

    @property
    def learning_rate(self) -> float:
        """The rate of the next optimiser step."""
        rate = self.settings.learning_rate_at(self.global_step, self.steps_per_epoch)
        return rate * self.plateau.scale if self.plateau else rate

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Gradient, the optimiser's step, then the network's own with the same learning rate."""
        optimizer, self.last_rate = self.optimizers(), self.learning_rate
        self.model.before_step_(self.global_step / (self.steps_per_epoch * self.settings.epochs))
        for group in optimizer.param_groups:
            group["lr"] = self.last_rate * self.model.relative_rate(group)
        outcome = self._within_memory(self.compute_gradient, batch)
        self._check_and_clip(outcome, count(batch[0]))
        optimizer.step()
        self.model.after_step_(self.last_rate, self.settings.kernel_decay)

    def compute_gradient(self, batch: Batch) -> Tensor:  # [M]
        """Leave the gradient of the batch's mean loss in the parameters; that loss, and the sums of other metrics."""
        whole, outcome = count(batch[0]), self._zeros(len(self.names))
        self.model.zero_grad()
        for inputs, labels, _ in self._parts(batch):
            loss, values = self.loss_of(inputs, labels)
            share = count(inputs) / whole
            # torch averages the gradients of ranks: together the parts weigh one.
            self.manual_backward(loss * (count(inputs) * ranks.size() / whole))
            others = [values[name].sum().double() for name in self.names[1:]]
            outcome += torch.stack([loss.detach().double() * share, *others])
        return ranks.total(outcome)

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=self.device)

    def _parts(self, batch: Batch) -> Iterator[tuple[Inputs, Tensor | None, Tensor]]:
        """This rank's share of each part that the batch is divided into, where there is any, and its places [B]."""
        inputs, labels = batch
        parts = min(self.micro_batches, self._most_parts(count(inputs)))
        places = torch.arange(count(inputs), device=self.device)
        for part in range(parts):

            def own(tensor: Tensor, part: int = part) -> Tensor:
                return ranks.share(tensor.tensor_split(parts)[part])

            self.batch = each(inputs, own), None if labels is None else own(labels)
            if count(self.batch[0]):
                yield *self.batch, own(places)

    def _within_memory(self, function: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        """``function`` of the batch, in smaller parts where the device's memory needs it."""
        statistics = [buffer.clone() for buffer in self.model.buffers()]
        while True:
            try:
                return function(batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # Not within the handler: the error's traceback holds on to the tensors that fill the memory.
            for buffer, before in zip(self.model.buffers(), statistics, strict=True):
                buffer.copy_(before)
            self._halve(count(batch[0]))

    def loss_of(self, inputs: Inputs, labels: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective's mean loss [] of B objects, and its other metrics of each [B]."""
        return self._explained(self.objective.loss, inputs, labels)

    def _most_parts(self, count: int) -> int:
        """How many parts a batch can have: each rank needs a shape of it, and batch statistics need two."""
        return max(1, count // max(2, ranks.size()))

    def _halve(self, count: int) -> None:
        """Twice as many parts from here on; one sentence where that cannot be."""
        where = f"out of memory on {self.device} at step {self.global_step + 1}"
        parts = min(2 * self.micro_batches, self._most_parts(count))
        if parts <= self.micro_batches:
            raise OutOfMemoryError(
                f"{where}, also with the batch in the smallest parts that have batch statistics: the last checkpoint "
                "is kept; take a device with more memory, or a smaller network"
            )
        if ranks.size() > 1:  # the others wait within their own part
            raise OutOfMemoryError(
                f"{where}, rank {ranks.rank()}: the last checkpoint is kept; "
                f"set training.micro_batches to {parts} or take more devices"
            )
        self.micro_batches = parts
        torch.cuda.empty_cache()
        log.warning(
            "%s: from here on a batch of %d goes through the network in %d parts; gradients add up to that of the "
            "batch, batch statistics are those of a part",
            where,
            count,
            parts,
        )

    def _check_and_clip(self, outcome: Tensor, count: int) -> None:  # [M]
        """Refuse a loss or gradient that is not finite, clip the gradient's norm, and add up the epoch."""
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters])
        # One transfer: reading a value makes the GPU wait.
        norm_value, self.last_loss, *others = torch.cat([norm.to(outcome)[None], outcome]).tolist()
        if not (math.isfinite(self.last_loss) and math.isfinite(norm_value)):
            raise NonFiniteError(self._explain())
        if self.settings.gradient_clip:
            nn.utils.clip_grads_with_norm_(parameters, self.settings.gradient_clip, norm)
        _add(self.sums, self.last_loss * count, *others, count)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The metrics of this rank's share of a batch of the validation split."""
        inputs, labels = batch
        values = self._within_memory(self._measure, (self.objective.fixed(inputs), labels))
        self.last_loss = values[0].sum().item()
        if not math.isfinite(self.last_loss):
            raise NonFiniteError(self._explain())
        self._validated.append((values, labels))

    def _measure(self, batch: Batch) -> Tensor:  # [M, B], zeros for what other ranks measure
        outcome = self._zeros(len(self.names), count(batch[0]))
        for inputs, labels, places in self._parts(batch):
            values = self._explained(self.objective.measure, inputs, labels)
            outcome[:, places] = torch.stack([values[name].double() for name in self.names])
        return outcome

    @torch.no_grad()
    def validate(self, batches: Iterable[Batch]) -> None:
        """What Lightning does after an epoch, once it has ended."""
        self.on_validation_epoch_start()
        for place, batch in enumerate(batches):
            self.validation_step(batch, place)
        self.on_validation_epoch_end()

    @torch.no_grad()
    def average_statistics(self, batches: Iterable[Batch]) -> None:
        """Take the statistics by which evaluation normalises from ``batches``, each of which counts the same."""
        with averaged_statistics(self.model):
            for inputs, labels in batches:
                self._within_memory(self._measure, (self.objective.fixed(inputs), labels))

    def on_validation_epoch_start(self) -> None:
        """Forget the validation before."""
        self._validated = []

    def on_validation_epoch_end(self) -> None:
        """Put together what the ranks have found."""
        values = ranks.total(torch.cat([values for values, _ in self._validated], 1)).cpu()
        self.validation = dict(zip(self.names, values, strict=True))
        if self._validated[0][1] is not None:
            self.validation["labels"] = torch.cat([labels for _, labels in self._validated]).cpu()

    def epoch_metrics(self) -> dict[str, float | None]:
        """The objective's metrics of the epoch that ends, by the columns of the history.

        For validation also their means over the classes, each of which then counts the same, where there are any;
        None for all of them where there is no validation split.
        """
        shapes, labels = self.sums["shapes"], self.validation.get("labels")
        metrics: dict[str, float | None] = {
            f"train_{name}": self.sums[name] / shapes if shapes else None for name in self.names
        }
        for name in self.names:
            values = self.validation.get(name)
            metrics[f"validation_{name}"] = None if values is None else values.mean().item()
        for name in self.names:
            known = labels is not None
            metrics[f"validation_class_{name}"] = class_mean(self.validation[name], labels) if known else None
        return metrics

    def on_train_epoch_end(self) -> None:
        """Let the plateau schedule see the epoch, and begin new sums."""
        if self.plateau:
            # A fold judges the training, so it must not steer it.
            split = "validation" if self.settings.fold is None else "train"
            self.plateau.step(self.epoch_metrics()[f"{split}_{self.objective.watched.name}"])
        self.sums = self._nothing()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the running epoch has summed and validated, the number of parts and the plateau schedule's state."""
        checkpoint["sums"], checkpoint["validation"] = dict(self.sums), self.validation
        checkpoint["micro_batches"] = self.micro_batches
        if self.plateau:
            checkpoint["plateau"] = self.plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take back what ``on_save_checkpoint`` added."""
        self.sums, self.validation = dict(checkpoint["sums"]), checkpoint["validation"]
        self.micro_batches = checkpoint["micro_batches"]
        if self.plateau:
            self.plateau.load_state_dict(checkpoint["plateau"])

    def _explained(self, function: Callable[..., Any], inputs: Inputs, labels: Tensor | None) -> Any:
        """Call a function of the objective; if a kernel refuses a number, name the layer from which it came."""
        try:
            return function(self.model, inputs, labels)
        except RuntimeError as error:
            if not is_numerical(error):
                raise
            raise NonFiniteError(self._explain()) from None

    def _explain(self) -> str:
        where = f"step {self.global_step + 1} in epoch {self.current_epoch + 1}"
        if ranks.size() > 1:  # others may not be here: nothing may wait for them
            self.model.eval()
        layer = first_non_finite_layer(self.model, self.objective.seen(self.batch[0]))
        if layer:
            reason = f"the output of layer '{layer}' is not finite"
        elif names := non_finite_gradients(self.model):
            reason = f"the gradient of '{names[0]}' is not finite"
        elif not math.isfinite(self.last_loss):
            reason = f"the loss is {self.last_loss}"
        else:
            reason = "the gradient's norm overflows"
        return (
            f"training stopped at {where}: {reason}; the last good checkpoint is kept, "
            "try a lower training.learning_rate or set training.gradient_clip"
        )


def class_mean(values: Tensor, labels: Tensor) -> float:  # [S], [S]
    """The mean over the classes of their means, in which a class of few objects counts as much as one of many."""
    sums, counts = torch.bincount(labels, values), torch.bincount(labels)
    return (sums[counts > 0] / counts[counts > 0]).mean().item()


def _add(sums: dict[str, float], *values: float) -> None:
    for key, value in zip(sums, values, strict=True):
        sums[key] += value


class _Plateau(torch.optim.lr_scheduler.ReduceLROnPlateau):
    """torch's schedule on an optimiser of its own, whose rate is the factor that the warm-up curve is scaled by."""

    def __init__(self, settings: TrainingSettings, objective: Objective) -> None:
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        mode = "max" if objective.watched.larger_is_better else "min"
        super().__init__(optimizer, mode, factor=settings.step_factor, patience=settings.plateau_patience)

    def _is_better(self, a: float, best: float) -> bool:
        """As torch's, which takes what is slightly worse than a negative best for better."""
        if best >= 0:
            return super()._is_better(a, best)
        return a < best * (1 + self.threshold) if self.mode == "min" else a > best * (1 - self.threshold)

    @property
    def scale(self) -> float:
        return self.optimizer.param_groups[0]["lr"]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.optimizer.param_groups[0]["lr"] = self._last_lr[0]
