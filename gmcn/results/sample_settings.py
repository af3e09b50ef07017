"""The settings of the stage `samples`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from gmcn.declared import Seed, above, at_least
from gmcn.results.sample_quality import BINS


@dataclass(frozen=True)
class SampleSettings:
    """Measurement of how a density's samples compare with training objects (docs/mixtures.md)."""

    count: Annotated[int, at_least(2), "Samples that are drawn of each network."] = 20_000
    bins: Annotated[
        int,
        at_least(2),
        "Clusters of k-means of the training objects, which samples are counted in; fewer where there are not five "
        "times as many objects.",
    ] = BINS
    top: Annotated[
        int | None, at_least(1), "Components of each layer below the top that are drawn from; null: the network's own."
    ] = None
    divisor: Annotated[float | None, above(0), "Divides the deviations of what is drawn; null: the network's own."] = (
        None
    )
    sets: Annotated[int, at_least(1), "Of clouds: sets of as many samples as there are test objects."] = 5
    flatten: Annotated[bool, "Of clouds: put points on surfaces, as `gmcn generate --flatten` does."] = False
    emd_points: Annotated[int, at_least(2), "Of clouds: points for earth mover's distances."] = 512
    classifier: Annotated[
        str | None,
        "Of clouds of one class: a pretrained network, or a file, that says which are of it; null: nobody is asked.",
    ] = None
    sharpen: Annotated[int | None, at_least(0), "Steps of sharpening; null: the network's own."] = None
    seed: Seed = 0

    @property
    def how(self) -> dict[str, Any]:
        """The options of drawing that are not the network's own."""
        given = {name: getattr(self, name) for name in ("top", "divisor", "sharpen")}
        return {name: value for name, value in given.items() if value is not None}
