"""The training step: cross-entropy, Adam, kernel decay, and a stop at the first value that is not finite."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional

from gmcn import ranks
from gmcn.errors import is_out_of_memory
from gmcn.mixture import Mixture
from gmcn.training.errors import (
    NonFiniteError,
    OutOfMemoryError,
    first_non_finite_layer,
    is_numerical,
    non_finite_parameters,
)
from gmcn.training.settings import TrainingSettings

log = logging.getLogger(__name__)

NOTHING = {"loss": 0.0, "correct": 0.0, "shapes": 0.0}  # what an epoch adds up
Batch = tuple[Mixture, Tensor]  # mixture [B, N], labels [B]


class Classifier(L.LightningModule):
    """Trains a network that gives logits [B, classes] for mixtures [B, N].

    Adam on all parameters; after each of its steps the kernels are pulled along equation (8) by
    ``model.decay_kernels_(learning rate * kernel_decay)``, decoupled from Adam as in the authors' code; a network
    without that function has no kernels. One with a penalty of its own has ``with_penalty``, which gives logits and
    penalty; the loss in training is the sum. Sums of the running epoch are part of the checkpoint, so that a resumed
    epoch reports what an uninterrupted one does.

    Every rank is given the whole batch and computes its share of it. A batch goes through the network in
    ``settings.micro_batches`` parts, whose gradients add up to that of the batch; batch statistics are those of a
    part. The number doubles when the device's memory does not hold a part.
    """

    automatic_optimization = False

    def __init__(self, model: nn.Module, settings: TrainingSettings, steps_per_epoch: int) -> None:
        super().__init__()
        self.model, self.settings, self.steps_per_epoch = model, settings, steps_per_epoch
        self.micro_batches = settings.micro_batches
        self.sums = dict(NOTHING)
        self.validation_sums = dict(NOTHING)
        self.last_loss = float("nan")
        self.batch: Batch | None = None
        self.plateau = _Plateau(settings) if settings.schedule == "plateau" else None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam with torch's betas. Its rate is set before each step, as a function of the step alone."""
        return torch.optim.Adam(self.model.parameters(), lr=self.settings.learning_rate)

    @property
    def learning_rate(self) -> float:
        """The rate of the next optimiser step."""
        rate = self.settings.learning_rate_at(self.global_step, self.steps_per_epoch)
        return rate * self.plateau.scale if self.plateau else rate

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Gradient, Adam's step, then the kernel decay with the same learning rate."""
        optimizer, rate = self.optimizers(), self.learning_rate
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, correct = self._fitting_memory(self.compute_gradient, batch)
        self._check_and_clip(loss, correct, len(batch[1]))
        optimizer.step()
        if self.settings.kernel_decay and hasattr(self.model, "decay_kernels_"):
            self.model.decay_kernels_(rate * self.settings.kernel_decay)

    def compute_gradient(self, batch: Batch) -> Tensor:  # [2]
        """Leave the gradient of the batch's mean loss in the parameters; that loss, and how many were right."""
        count, outcome = len(batch[1]), torch.zeros(2, dtype=torch.float64, device=batch[1].device)
        self.model.zero_grad()
        for mixture, labels in self._parts(batch):
            loss, logits = self.loss_of(mixture, labels)
            # torch averages the gradients of ranks: together the parts weigh one.
            self.manual_backward(loss * (len(labels) * ranks.size() / count))
            correct = (logits.argmax(1) == labels).sum()
            outcome += torch.stack([loss.detach().double() * (len(labels) / count), correct.double()])
        return ranks.total(outcome)

    def _parts(self, batch: Batch) -> Iterator[Batch]:
        """This rank's share of each part that the batch is divided into, where there is any."""
        mixture, labels = batch
        parts = min(self.micro_batches, self._most_parts(len(labels)))
        for tensors in zip(*(tensor.tensor_split(parts) for tensor in (*mixture, labels)), strict=True):
            *shapes, chosen = map(ranks.share, tensors)
            self.batch = Mixture(*shapes), chosen
            if len(chosen):
                yield self.batch

    def _fitting_memory(self, function: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
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

    def loss_of(self, mixture: Mixture, labels: Tensor) -> tuple[Tensor, Tensor]:  # [B, N], [B] -> [], [B, classes]
        """Mean cross-entropy, with the network's own penalty where it has one; and the logits."""
        penalised = getattr(self.model, "with_penalty", None)
        logits, penalty = self._outputs(penalised, mixture) if penalised else (self._outputs(self.model, mixture), 0.0)
        smoothing = self.settings.label_smoothing
        return functional.cross_entropy(logits, labels, label_smoothing=smoothing) + penalty, logits

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

    def _check_and_clip(self, loss: Tensor, correct: Tensor, count: int) -> None:
        """Refuse a loss or gradient that is not finite, clip the gradient's norm, and add up the epoch."""
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters])
        # One transfer: reading a value makes the GPU wait.
        self.last_loss, norm_value, right = torch.stack([loss, norm.to(loss), correct]).tolist()
        if not (math.isfinite(self.last_loss) and math.isfinite(norm_value)):
            raise NonFiniteError(self._explain())
        if self.settings.gradient_clip:
            nn.utils.clip_grads_with_norm_(parameters, self.settings.gradient_clip, norm)
        _add(self.sums, self.last_loss * count, right, count)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss and accuracy of this rank's share of a batch of the validation split."""
        self.last_loss, correct, count = self._fitting_memory(self._measure, batch).tolist()
        if not math.isfinite(self.last_loss):
            raise NonFiniteError(self._explain())
        _add(self.validation_sums, self.last_loss, correct, count)

    def _measure(self, batch: Batch) -> Tensor:  # [3]
        outcome = torch.zeros(3, dtype=torch.float64, device=batch[1].device)
        for mixture, labels in self._parts(batch):
            logits = self._outputs(self.model, mixture)
            loss = functional.cross_entropy(logits, labels, reduction="sum")
            correct = (logits.argmax(1) == labels).sum()
            outcome += torch.stack([loss.double(), correct.double(), torch.full_like(loss, len(labels)).double()])
        return outcome

    def on_validation_epoch_start(self) -> None:
        """Forget the validation before."""
        self.validation_sums = dict(NOTHING)

    def on_validation_epoch_end(self) -> None:
        """Add up what the ranks have found."""
        values = torch.tensor(list(self.validation_sums.values()), dtype=torch.float64, device=self.device)
        self.validation_sums = dict(zip(NOTHING, ranks.total(values).tolist(), strict=True))

    def epoch_metrics(self) -> dict[str, float | None]:
        """Loss and accuracy of the epoch that ends; None for validation where there is no validation split."""
        metrics = {}
        for name, sums in (("train", self.sums), ("validation", self.validation_sums)):
            for value, key in (("loss", "loss"), ("accuracy", "correct")):
                metrics[f"{name}_{value}"] = sums[key] / sums["shapes"] if sums["shapes"] else None
        return metrics

    def on_train_epoch_end(self) -> None:
        """Let the plateau schedule see the epoch, and begin new sums."""
        if self.plateau:
            self.plateau.step(self.epoch_metrics()["validation_loss"])
        self.sums = dict(NOTHING)

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

    def _outputs(self, function: Callable[[Mixture], Any], mixture: Mixture) -> Any:
        try:
            return function(mixture)
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
    for key, value in zip(NOTHING, values, strict=True):
        sums[key] += value


class _Plateau(torch.optim.lr_scheduler.ReduceLROnPlateau):
    """torch's schedule on an optimiser of its own, whose rate is the factor that the warm-up curve is scaled by."""

    def __init__(self, settings: TrainingSettings) -> None:
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        super().__init__(optimizer, factor=settings.step_factor, patience=settings.plateau_patience)

    @property
    def scale(self) -> float:
        return self.optimizer.param_groups[0]["lr"]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.optimizer.param_groups[0]["lr"] = self._last_lr[0]
