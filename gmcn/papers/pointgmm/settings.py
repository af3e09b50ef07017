"""What the figures of PointGMM show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from gmcn.config.illustrations import DATASETS
from gmcn.declared import DISTINCT, FILLED, at_least


@dataclass(frozen=True)
class CloudFigureSettings:
    """What the figures of networks that generate clouds show (docs/pointgmm.md)."""

    datasets: Annotated[
        Sequence[Annotated[str, "A data set of clouds."]], FILLED, DISTINCT, "Names of data sets; the first is shown."
    ] = DATASETS["pointgmm"]
    objects: Annotated[int, at_least(2), "Clouds in a row."] = 8
