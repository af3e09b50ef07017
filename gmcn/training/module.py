"""The training step: cross-entropy, Adam, kernel decay, and a stop at the first value that is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import MulticlassAccuracy

from gmcn.mixture import Mixture
from gmcn.training.errors import NonFiniteError, first_non_finite_layer, is_numerical, non_finite_parameters
from gmcn.training.settings import TrainingSettings

Batch = tuple[Mixture, Tensor]  # mixture [B, N], labels [B]


class Classifier(L.LightningModule):
    """Trains a network that gives logits [B, classes] for mixtures [B, N].

    Adam on all parameters; after each of its steps the kernels are pulled along equation (8) by
    ``model.decay_kernels_(learning rate * kernel_decay)``, decoupled from Adam as in the authors' code; a network
    without that function has no kernels. One with a penalty of its own has ``with_penalty``, which gives logits and
    penalty; the loss in training is the sum. Sums of the running epoch are part of the checkpoint, so that a resumed
    epoch reports what an uninterrupted one does.
    """

    def __init__(self, model: nn.Module, settings: TrainingSettings, classes: int, steps_per_epoch: int) -> None:
        super().__init__()
        self.model, self.settings, self.steps_per_epoch = model, settings, steps_per_epoch
        self.train_accuracy = MulticlassAccuracy(classes, average="micro")
        self.train_accuracy.persistent(True)
        self.validation_accuracy = MulticlassAccuracy(classes, average="micro")
        self.sums = {"loss": 0.0, "shapes": 0}
        self.validation_sums = {"loss": 0.0, "shapes": 0}
        self.last_loss = float("nan")
        self.loss: Tensor | None = None
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

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the learning rate of this step."""
        for group in self.optimizers().param_groups:
            group["lr"] = self.learning_rate

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean cross-entropy of a batch, and the network's own penalty where it has one."""
        mixture, labels = batch
        self.batch = batch
        penalised = getattr(self.model, "with_penalty", None)
        logits, penalty = self._outputs(penalised, mixture) if penalised else (self._outputs(self.model, mixture), 0.0)
        loss = functional.cross_entropy(logits, labels, label_smoothing=self.settings.label_smoothing) + penalty
        self.train_accuracy.update(logits.detach(), labels)
        self.loss = loss.detach()
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradient's norm, and refuse a step on a loss or gradient that is not finite."""
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters])
        # One transfer per step: reading a value makes the GPU wait.
        self.last_loss, norm_value = torch.stack([self.loss, norm.to(self.loss)]).tolist()
        if not (math.isfinite(self.last_loss) and math.isfinite(norm_value)):
            raise NonFiniteError(self._explain())
        if self.settings.gradient_clip:
            nn.utils.clip_grads_with_norm_(parameters, self.settings.gradient_clip, norm)
        self.sums["loss"] += self.last_loss * len(self.batch[1])
        self.sums["shapes"] += len(self.batch[1])

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: torch.optim.Optimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Adam's step, then the kernel decay with the same learning rate."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        if self.settings.kernel_decay and hasattr(self.model, "decay_kernels_"):
            self.model.decay_kernels_(optimizer.param_groups[0]["lr"] * self.settings.kernel_decay)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss and accuracy of a batch of the validation split."""
        mixture, labels = batch
        self.batch = batch
        logits = self._outputs(self.model, mixture)
        self.validation_accuracy.update(logits, labels)
        self.last_loss = functional.cross_entropy(logits, labels, reduction="sum").item()
        if not math.isfinite(self.last_loss):
            raise NonFiniteError(self._explain())
        self.validation_sums["loss"] += self.last_loss
        self.validation_sums["shapes"] += len(labels)

    def on_validation_epoch_start(self) -> None:
        """Forget the validation before."""
        self.validation_accuracy.reset()
        self.validation_sums = {"loss": 0.0, "shapes": 0}

    def epoch_metrics(self) -> dict[str, float | None]:
        """Loss and accuracy of the epoch that ends; None for validation where there is no validation split."""
        validated = self.validation_sums["shapes"]
        return {
            "train_loss": self.sums["loss"] / self.sums["shapes"],
            "train_accuracy": self.train_accuracy.compute().item(),
            "validation_loss": self.validation_sums["loss"] / validated if validated else None,
            "validation_accuracy": self.validation_accuracy.compute().item() if validated else None,
        }

    def on_train_epoch_end(self) -> None:
        """Let the plateau schedule see the epoch, and begin new sums."""
        if self.plateau:
            self.plateau.step(self.epoch_metrics()["validation_loss"])
        self.train_accuracy.reset()
        self.sums = {"loss": 0.0, "shapes": 0}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the sums of the running epoch and the state of the plateau schedule."""
        checkpoint["sums"] = dict(self.sums)
        if self.plateau:
            checkpoint["plateau"] = self.plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take back what ``on_save_checkpoint`` added."""
        self.sums = dict(checkpoint["sums"])
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
        layer = first_non_finite_layer(self.model, self.batch[0])
        if layer:
            reason = f"the output of layer '{layer}' is not finite"
        elif names := non_finite_parameters(self.model, gradient=True):
            reason = f"the gradient of '{names[0]}' is not finite"
        else:
            reason = f"the loss is {self.last_loss} and the gradient's norm overflows"
        return (
            f"training stopped at {where}: {reason}; the last good checkpoint is kept, "
            "try a lower training.learning_rate or set training.gradient_clip"
        )


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
