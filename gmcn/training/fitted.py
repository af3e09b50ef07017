"""Training in closed steps over all objects, of networks that are fitted: the files are those of any training."""

from __future__ import annotations

import logging
import math
import signal
from typing import Any

import torch

from gmcn.progress import Progress
from gmcn.training.callbacks import History, LastCheckpoint
from gmcn.training.datamodule import TrainingData
from gmcn.training.errors import Interrupted, NonFiniteError
from gmcn.training.step import TrainingStep

log = logging.getLogger(__name__)


def fit_network(
    module: TrainingStep,
    batches: TrainingData,
    history: History,
    checkpoint: LastCheckpoint,
    *,
    seed: int,
    device: torch.device,
) -> dict[str, Any]:
    """Fit the network of ``module``, with a row of the history for each iteration; returns facts for the summary.

    The training loss of a row is what the fit says of the iteration, the validation is that of the parameters after
    it. Nothing is written before the end: a signal that asks to stop leaves the folder as it was.
    """
    loader, name = batches.train_loader, module.names[0]
    module.to(device).eval()

    def told(epoch: int, loss: float) -> None:
        if not math.isfinite(loss):
            raise NonFiniteError(f"the fit stopped at iteration {epoch}: the loss is {loss}; nothing was written")
        module.last_loss = loss
        module.sums |= {name: loss * loader.count, "shapes": loader.count}
        try:
            if batches.validation_batches:
                module.validate(batches.validation_batches)
        except NonFiniteError:  # whose advice is for a training by gradients
            raise NonFiniteError(
                f"the fit stopped at iteration {epoch}: the validation loss is not finite; nothing was written"
            ) from None
        history.run.log_metrics({"train/loss": loss}, step=epoch)
        history.add(epoch, epoch, module, None)
        history.say(module)
        bar.advance(task)

    with Progress() as bar, checkpoint.listening(at_once=True):
        task = bar.add_task("fit", total=module.settings.epochs)
        checkpoint.attempts = 1
        history.start()
        try:
            facts = module.model.fit_(loader.inputs, module.settings.epochs, seed, told)
        except Interrupted as stop:
            log.warning("stopped by %s; a fit starts afresh", signal.Signals(stop.signal_number).name)
            raise
    history.write(module)
    return facts
