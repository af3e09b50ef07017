"""The mean of the weights that a training has passed through."""

from __future__ import annotations

import lightning as L
from lightning.pytorch.callbacks import EMAWeightAveraging

from gmcn.training.step import TrainingStep


class Average(EMAWeightAveraging):
    """Keeps an exponential moving average of parameters and buffers, which is what is validated and what remains.

    The average is part of the checkpoint, and so is the network that is trained on.
    """

    def on_fit_end(self, trainer: L.Trainer, module: TrainingStep) -> None:
        """The average takes the network's place, also after a start from the last checkpoint, which trains nothing."""
        self.on_train_end(trainer, module)
