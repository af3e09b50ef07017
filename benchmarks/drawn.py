"""What the input fit of images loses, as a perceptron sees it.

The task: scikit-learn's perceptron with 256 hidden units learns nine tenths of a data set's training images and is
judged by the last tenth. It sees the pixels; the pixels divided by their sum, as mixtures have a sum of one; images
that are drawn from the mixtures, one value at each pixel's centre; and these times the sum of the pixels. The test
split is not read. ± is the standard deviation over seeds.
"""

from __future__ import annotations

import statistics
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from common import arguments, progress, report, save
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from torch import Tensor

from gmcn import Mixture, ops
from gmcn.data import sample
from gmcn.data.objects import TRAIN, read_split
from gmcn.fitting import fit
from gmcn.fitting.images import pixels

PART = 500  # images at a time
HIDDEN = 256


def drawn(mixture: Mixture, height: int, width: int) -> Tensor:  # [S, N] -> [S, H W]
    """The mean value of each mixture in each pixel, as if a pixel were a Gaussian of its variance."""
    centres, _ = pixels(torch.ones(1, height, width))
    blurred = mixture._replace(covariances=mixture.covariances + torch.eye(2) / 12)
    parts = [
        ops.evaluate(Mixture(*part), centres, cutoff=1e-7)
        for part in zip(*(tensor.split(PART) for tensor in blurred), strict=True)
    ]
    return torch.cat(parts)


def accuracies(inputs: Tensor, labels: Tensor, epochs: int, seed: int) -> tuple[float, float]:
    """In percent, of what was learnt and of the rest."""
    known = len(labels) * 9 // 10
    values = (inputs - inputs[:known].mean()) / inputs[:known].std()
    model = MLPClassifier(HIDDEN, batch_size=128, max_iter=epochs, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(values[:known].numpy(), labels[:known].numpy())
    parts = (slice(None, known), slice(known, None))
    learnt, rest = (100 * float(model.score(values[part].numpy(), labels[part].numpy())) for part in parts)
    return learnt, rest


def main() -> None:
    options = arguments(
        __doc__,
        ("--points", {"help": "what `gmcn sample` made of images"}),
        ("--input", {"help": "their mixtures"}),
        ("--epochs", {"type": int, "default": 12}),
        ("--seeds", {"type": int, "nargs": "+", "default": [0, 1, 2]}),
    )
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        if options.smoke:
            options.points, options.input = (Path(name) / f"{part}.safetensors" for part in ("points", "input"))
            sample("digits", settings={"kind": "digits", "test_fraction": 0.5}, downloads=None, output=options.points)
            settings = {"method": "kmeans", "components": 8}
            fit(options.points, settings=settings, output=options.input, dataset="digits", name="fit")
            options.epochs, options.seeds = 1, [0]
        images, mixtures = (read_split(path, TRAIN) for path in (options.points, options.input))
        dataset, height, width = images.metadata["dataset"], *images.inputs.shape[1:]
        values = images.inputs.flatten(1).float()
        mass = values.sum(1, keepdim=True)
        again = drawn(mixtures.inputs, height, width)
    ways = {
        "pixels": values,
        "pixels with the sum one": values / mass,
        f"drawn from {mixtures.inputs.components} Gaussians": again,
        "the same, times the sum": again * mass,
    }
    for way, inputs in ways.items():
        progress(f"drawn: {way} of {dataset}")
        found = [accuracies(inputs, images.labels, options.epochs, seed) for seed in options.seeds]
        learnt, rest = zip(*found, strict=True)
        row = {"data set": dataset, "input": way, "learnt, %": f"{statistics.fmean(learnt):.1f}"}
        spread = f" ± {statistics.stdev(rest):.1f}" if len(rest) > 1 else ""
        rows.append({**row, "the rest, %": f"{statistics.fmean(rest):.1f}{spread}"})
        save("drawn", __doc__, rows, options)
    report("drawn", __doc__, rows, options)


if __name__ == "__main__":
    main()
