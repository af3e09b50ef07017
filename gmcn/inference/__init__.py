"""Trained networks at work: files are prepared as in training and classified; results become pretrained networks."""

from __future__ import annotations

from gmcn.inference.exporting import export
from gmcn.inference.predicting import Prediction, predict

__all__ = ["Prediction", "export", "predict"]
