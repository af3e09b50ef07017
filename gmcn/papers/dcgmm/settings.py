"""What the figures of deep convolutional mixtures show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from gmcn.config.illustrations import DATASETS
from gmcn.declared import DISTINCT, FILLED, above, at_least


@dataclass(frozen=True)
class ComparisonSettings:
    """What the figures of deep convolutional mixtures show (docs/dcgmm.md)."""

    datasets: Annotated[
        Sequence[Annotated[str, "A data set of images."]],
        FILLED,
        DISTINCT,
        "Names of the data sets; dcgmm-figure2, 4 and 5 show the first, dcgmm-figure7 and 8 the last, others all.",
    ] = DATASETS["dcgmm"]
    samples: Annotated[int, at_least(3), "Images of a panel."] = 49
    divisor: Annotated[float, above(0), "Of standard deviations, where samples are drawn with less noise."] = 10.0
    steps: Annotated[int, at_least(1), "Steps of sharpening, of 0.1."] = 1000
