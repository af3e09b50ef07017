"""The built-in data set `digits`: scikit-learn's 1,797 scanned digits of 8 x 8 pixels in 17 grey levels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gmcn.data.kinds import Digits, told
from gmcn.data.samples import Samples, as_image


def read_digits(settings: dict[str, Any], files: list[Path]) -> Samples:
    """All digits in scikit-learn's order, split by class; ``settings`` are those of :class:`gmcn.data.kinds.Digits`.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI repository (its test part), as
    packaged with scikit-learn, which has no split of its own.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    labels = bunch.target.astype(np.int64)
    own = told(Digits, settings)
    indices = np.arange(len(labels))
    _, test = train_test_split(indices, test_size=own.test_fraction, random_state=own.seed, stratify=labels)
    split = np.zeros(len(labels), dtype=np.uint8)
    split[test] = 1
    return Samples(
        labels=labels,
        split=split,
        names=[f"digits-{index:04d}" for index in range(len(labels))],
        class_names=[str(digit) for digit in bunch.target_names],
        items=lambda: bunch.images.astype(np.uint8),
        load=as_image,
    )
