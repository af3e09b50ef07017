"""The mean of the weights that a training has passed through."""

from __future__ import annotations

import lightning as L
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from gmcn.training.step import TrainingStep


class Average(WeightAveraging):
    """Keeps an exponential moving average of parameters and buffers, which is what is validated and what remains.

    Of the average of n steps the share min(``decay``, (1 + n) / (10 + n)) stays in the next one, so that the first
    networks are soon forgotten (as in TensorFlow's moving averages). The average is part of the checkpoint, and so is
    the network that is trained on.
    """

    def __init__(self, decay: float) -> None:
        def averaged(average: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
            if not current.is_floating_point():  # places and counts have no mean
                return current
            share = min(decay, (1 + int(steps)) / (10 + int(steps)))
            return share * average + (1 - share) * current

        super().__init__(avg_fn=averaged)

    def on_fit_end(self, trainer: L.Trainer, module: TrainingStep) -> None:
        """The average takes the network's place, also after a start from the last checkpoint, which trains nothing."""
        self.on_train_end(trainer, module)
