"""Accuracy, loss, calibration and confusion of the answers about objects whose classes are known.

The metrics are read without torch, by tables and the configuration: what measures imports it where it is used.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from gmcn.errors import InputError
from gmcn.tasks.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor

    from gmcn.data.objects import ObjectSet

BINS = 15  # of confidences, for the expected calibration error (Guo et al. 2017)
ACCURACY = Metric("accuracy", "test accuracy", "%", 2, larger_is_better=True, scale=100)
CLASS_ACCURACY = Metric("class_accuracy", "mean class accuracy", "%", 2, larger_is_better=True, scale=100)
LOSS = Metric("loss", "test cross-entropy", "nats")
CALIBRATION = Metric("calibration_error", "expected calibration error", "%", 2, scale=100)
METRICS = (ACCURACY, CLASS_ACCURACY, LOSS, CALIBRATION)


def measure(logits: Tensor, data: ObjectSet) -> dict[str, Any]:  # logits [S, classes]
    """The metrics, confusion and predictions. A class without test objects has the accuracy None.

    The calibration error is the mean difference between probability and accuracy over bins of the probability.
    """
    from torch.nn import functional
    from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_confusion_matrix

    if data.labels is None:
        raise InputError(f"the {data.kind} of {data.metadata.get('dataset')} have no labels to measure against")
    bad = (~logits.isfinite().all(1)).nonzero().squeeze(1)
    if len(bad):
        raise InputError(
            f"the network's output for '{data.names[int(bad[0])]}' is not finite ({len(bad)} of {len(data)} shapes); "
            "train it again with a lower training.learning_rate"
        )
    predictions, probabilities = logits.argmax(1), logits.double().softmax(1)
    # Of 1 torchmetrics would make a bin of its own.
    below_one = probabilities.clamp(max=1 - 1e-7)
    calibration = multiclass_calibration_error(below_one, data.labels, len(data.class_names), n_bins=BINS)
    confusion = multiclass_confusion_matrix(predictions, data.labels, num_classes=len(data.class_names))
    right, total = confusion.diagonal().tolist(), confusion.sum(1).tolist()
    per_class = [hits / count if count else None for hits, count in zip(right, total, strict=True)]
    return {
        "accuracy": sum(right) / len(data),
        "class_accuracy": statistics.fmean(share for share in per_class if share is not None),
        "loss": functional.cross_entropy(logits.double(), data.labels).item(),
        "per_class": dict(zip(data.class_names, per_class, strict=True)),
        "calibration_error": calibration.item(),
        "confusion": confusion.tolist(),
        "predictions": predictions.tolist(),
        "confidences": probabilities.amax(1).tolist(),
    }
