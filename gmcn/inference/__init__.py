"""Trained networks at work: they answer about files and draw new objects. Poses, which need no network."""

from __future__ import annotations

from gmcn.inference.completing import Completed, complete
from gmcn.inference.exporting import export
from gmcn.inference.generating import Generated, generate
from gmcn.inference.predicting import Prediction, predict
from gmcn.inference.registering import register

__all__ = ["Completed", "Generated", "Prediction", "complete", "export", "generate", "predict", "register"]
