"""The training step: the objective's gradient, Adam, and a stop at the first value that is not finite."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from gmcn import ranks, tasks
from gmcn.data.objects import Inputs, each
from gmcn.errors import is_out_of_memory
from gmcn.models import Network
from gmcn.tasks.task import Objective
from gmcn.training.errors import (
    NonFiniteError,
    OutOfMemoryError,
    first_non_finite_layer,
    is_numerical,
    non_finite_parameters,
)
from gmcn.training.settings import TrainingSettings

log = logging.getLogger(__name__)

Batch = tuple[Inputs, Tensor]  # of B objects, labels [B]


class TrainingStep(L.LightningModule):
    """Trains a network on batches of inputs and labels, for an objective.

    Adam on all parameters, then what the network itself does after a step (:meth:`gmcn.models.Network.after_step_`).
    Sums of the running epoch are part of the checkpoint, so that a resumed epoch reports what an uninterrupted one
    does.

    Every rank is given the whole batch and computes its share of it. A batch goes through the network in
    ``settings.micro_batches`` parts, whose gradients add up to that of the batch; batch statistics are those of a
    part. The number doubles when the device's memory does not hold a part.
    """

    automatic_optimization = False

    def __init__(
        self, model: Network, settings: TrainingSettings, steps_per_epoch: int, task: str = tasks.DEFAULT_TASK
    ) -> None:
        super().__init__()
        self.model, self.settings, self.steps_per_epoch = model, settings, steps_per_epoch
        self.objective = tasks.objective(settings, task)
        self.micro_batches = settings.micro_batches
        self.sums = self._nothing()
        self.validation_sums = self._nothing()
        self.last_loss = float("nan")
        self.batch: Batch | None = None
        self.plateau = _Plateau(settings, self.objective) if settings.schedule == "plateau" else None

    def _nothing(self) -> dict[str, float]:
        """What an epoch adds up."""
        return dict.fromkeys(("loss", *self.objective.counted, "shapes"), 0.0)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam with torch's betas. Its rate is set before each step, as a function of the step alone."""
        return torch.optim.Adam(self.model.parameters(), lr=self.settings.learning_rate)

    @property
    def learning_rate(self) -> float:
        """The rate of the next optimiser step."""
        rate = self.settings.learning_rate_at(self.global_step, self.steps_per_epoch)
        return rate * self.plateau.scale if self.plateau else rate

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Gradient, Adam's step, then the network's own with the same learning rate."""
        optimizer, rate = self.optimizers(), self.learning_rate
        for group in optimizer.param_groups:
            group["lr"] = rate
        outcome = self._within_memory(self.compute_gradient, batch)
        self._check_and_clip(outcome, len(batch[1]))
        optimizer.step()
        self.model.after_step_(rate, self.settings.kernel_decay)

    def compute_gradient(self, batch: Batch) -> Tensor:  # [1 + counted]
        """Leave the gradient of the batch's mean loss in the parameters; that loss, and what is counted."""
        count, outcome = len(batch[1]), self._zeros(1 + len(self.objective.counted))
        self.model.zero_grad()
        for inputs, labels in self._parts(batch):
            loss, counted = self.loss_of(inputs, labels)
            # torch averages the gradients of ranks: together the parts weigh one.
            self.manual_backward(loss * (len(labels) * ranks.size() / count))
            own = [counted[name].double() for name in self.objective.counted]
            outcome += torch.stack([loss.detach().double() * (len(labels) / count), *own])
        return ranks.total(outcome)

    def _zeros(self, count: int) -> Tensor:
        return torch.zeros(count, dtype=torch.float64, device=self.device)

    def _parts(self, batch: Batch) -> Iterator[Batch]:
        """This rank's share of each part that the batch is divided into, where there is any."""
        inputs, labels = batch
        parts = min(self.micro_batches, self._most_parts(len(labels)))
        for part in range(parts):

            def own(tensor: Tensor, part: int = part) -> Tensor:
                return ranks.share(tensor.tensor_split(parts)[part])

            self.batch = each(inputs, own), own(labels)
            if len(self.batch[1]):
                yield self.batch

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
            self._halve(len(batch[1]))

    def loss_of(self, inputs: Inputs, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective's mean loss [] of B objects, and what it counts."""
        return self._explained(self.objective.loss, inputs, labels)

    def _most_parts(self, count: int) -> int:
        """How many parts a batch can have: each rank needs a shape of it, and batch statistics need two."""
        return max(1, count // max(2, ranks.size()))

    def _halve(self, count: int) -> None:
        """Twice as many parts from here on; one sentence where that cannot be."""
        where = f"out of memory on {self.device} at step {self.global_step + 1}"
        parts = min(2 * self.micro_batches, self._most_parts(count))
        if ranks.size() > 1:  # the others wait within their own part
            raise OutOfMemoryError(
                f"{where}, rank {ranks.rank()}: the last checkpoint is kept; "
                f"set training.micro_batches to {parts} or take more devices"
            )
        if parts <= self.micro_batches:
            raise OutOfMemoryError(
                f"{where}, also with the batch in the smallest parts that have batch statistics: the last checkpoint "
                "is kept; take a device with more memory, or a smaller network"
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

    def _check_and_clip(self, outcome: Tensor, count: int) -> None:  # [1 + counted]
        """Refuse a loss or gradient that is not finite, clip the gradient's norm, and add up the epoch."""
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters])
        # One transfer: reading a value makes the GPU wait.
        norm_value, self.last_loss, *counted = torch.cat([norm.to(outcome)[None], outcome]).tolist()
        if not (math.isfinite(self.last_loss) and math.isfinite(norm_value)):
            raise NonFiniteError(self._explain())
        if self.settings.gradient_clip:
            nn.utils.clip_grads_with_norm_(parameters, self.settings.gradient_clip, norm)
        _add(self.sums, self.last_loss * count, *counted, count)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss and accuracy of this rank's share of a batch of the validation split."""
        sums = self._within_memory(self._measure, batch).tolist()
        self.last_loss = sums[0]
        if not math.isfinite(self.last_loss):
            raise NonFiniteError(self._explain())
        _add(self.validation_sums, *sums)

    def _measure(self, batch: Batch) -> Tensor:  # [1 + counted + 1]
        names = ("loss", *self.objective.counted)
        outcome = self._zeros(len(names) + 1)
        for inputs, labels in self._parts(batch):
            sums = self._explained(self.objective.measure, inputs, labels)
            own = [sums[name].double() for name in names]
            outcome += torch.stack([*own, torch.full_like(own[0], len(labels))])
        return outcome

    def on_validation_epoch_start(self) -> None:
        """Forget the validation before."""
        self.validation_sums = self._nothing()

    def on_validation_epoch_end(self) -> None:
        """Add up what the ranks have found."""
        values = torch.tensor(list(self.validation_sums.values()), dtype=torch.float64, device=self.device)
        self.validation_sums = dict(zip(self.validation_sums, ranks.total(values).tolist(), strict=True))

    def epoch_metrics(self) -> dict[str, float | None]:
        """The objective's metrics of the epoch that ends; None for validation where there is no validation split."""
        metrics: dict[str, float | None] = {}
        for split, sums in (("train", self.sums), ("validation", self.validation_sums)):
            means = self.objective.means(sums, sums["shapes"]) if sums["shapes"] else {}
            metrics |= {f"{split}_{metric.name}": means.get(metric.name) for metric in self.objective.metrics}
        return metrics

    def on_train_epoch_end(self) -> None:
        """Let the plateau schedule see the epoch, and begin new sums."""
        if self.plateau:
            self.plateau.step(self.epoch_metrics()[f"validation_{self.objective.watched.name}"])
        self.sums = self._nothing()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the sums of the running epoch, the number of parts and the state of the plateau schedule."""
        checkpoint["sums"] = dict(self.sums)
        checkpoint["micro_batches"] = self.micro_batches
        if self.plateau:
            checkpoint["plateau"] = self.plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take back what ``on_save_checkpoint`` added."""
        self.sums, self.micro_batches = dict(checkpoint["sums"]), checkpoint["micro_batches"]
        if self.plateau:
            self.plateau.load_state_dict(checkpoint["plateau"])

    def _explained(self, function: Callable[..., Any], inputs: Inputs, labels: Tensor) -> Any:
        """What a function of the objective gives; where a kernel refuses a number, the layer that it came from."""
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
        layer = first_non_finite_layer(self.model, self.batch[0])
        if layer:
            reason = f"the output of layer '{layer}' is not finite"
        elif names := non_finite_parameters(self.model, gradient=True):
            reason = f"the gradient of '{names[0]}' is not finite"
        elif not math.isfinite(self.last_loss):
            reason = f"the loss is {self.last_loss}"
        else:
            reason = "the gradient's norm overflows"
        return (
            f"training stopped at {where}: {reason}; the last good checkpoint is kept, "
            "try a lower training.learning_rate or set training.gradient_clip"
        )


def _add(sums: dict[str, float], *values: float) -> None:
    for key, value in zip(sums, values, strict=True):
        sums[key] += value


class _Plateau(torch.optim.lr_scheduler.ReduceLROnPlateau):
    """torch's schedule on an optimiser of its own, whose rate is the factor that the warm-up curve is scaled by."""

    def __init__(self, settings: TrainingSettings, objective: Objective) -> None:
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        mode = "max" if objective.watched.larger_is_better else "min"
        super().__init__(optimizer, mode, factor=settings.step_factor, patience=settings.plateau_patience)

    @property
    def scale(self) -> float:
        return self.optimizer.param_groups[0]["lr"]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.optimizer.param_groups[0]["lr"] = self._last_lr[0]
