"""How often a network and the search find the pose of one part of a test object on another, and how far they are off.

The metrics are read without torch, by tables and the configuration: what measures imports it where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gmcn.errors import InputError
from gmcn.tasks.metric import Metric

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from gmcn.data.objects import Inputs, ObjectSet
    from gmcn.models import Network
    from gmcn.models.registration import RegistrationNetwork
    from gmcn.registration.pairs import Pairs, Setting
    from gmcn.tasks.registration.measures_of_poses import Method

SHOWN = 4  # pairs in a picture
NEAR = 10.0  # degrees
_SHARE: dict[str, Any] = {"unit": "%", "digits": 1, "larger_is_better": True, "scale": 100}
UNDER_10 = Metric("under_10", "turned by less than 10 degrees off", **_SHARE)
MEDIAN = Metric("median", "median of the angles off", "degrees", 2)
ANY_MODE = Metric("any_mode", "one of the modes less than 10 degrees off", **_SHARE)
WEIGHT = Metric("weight", "mean weight of the heaviest mode", **_SHARE)
LENGTH = Metric("length", "median of the lengths off", "1e-3", 1, scale=1e3)
ALONE = Metric("alone", "less than 10 degrees off, the network alone", **_SHARE)
ALONE_MEDIAN = Metric("alone_median", "median of the angles off, the network alone", "degrees", 2)
MILLISECONDS = Metric("milliseconds", "processor time of a pair", "ms", 0)
# Of the other settings of docs/registration.md about the axis.
WHOLES = Metric("wholes", "of wholes", **_SHARE)
SMALL_PARTS = Metric("small_parts", "of parts of 0.3 to 0.5", **_SHARE)
WITHIN_30 = Metric("within_30", "of turns within 30 degrees", **_SHARE)
NOISE = Metric("noise", "of parts with noise", **_SHARE)


class Measures:
    """Of pairs of parts of test objects of the trained classes, by the protocol of docs/registration.md.

    The first metrics are of parts of 0.5 to 0.8, turned about z by any angle; those from ``wholes`` on are what
    ``under_10`` is in the other settings. What a network believes is joined with the overlap of mixtures
    (:func:`gmcn.registration.search.search`); ``alone`` is the pose that it gives by itself.
    """

    metrics = (
        *(UNDER_10, MEDIAN, ANY_MODE, WEIGHT, LENGTH, ALONE, ALONE_MEDIAN, MILLISECONDS),
        *(WHOLES, SMALL_PARTS, WITHIN_30, NOISE),
    )
    headline = UNDER_10
    details = ("mean",)

    def measure(
        self,
        network: RegistrationNetwork,
        data: ObjectSet,
        device: torch.device | str = "cpu",
        progress: Callable[[int], object] = lambda _: None,
        metadata: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The metrics, and in ``settings`` all numbers of each, with the degrees of every pair of the first."""
        from gmcn.data.objects import of_classes, trained_classes
        from gmcn.tasks.registration.measures_of_poses import over_settings

        own = of_classes(data, trained_classes(metadata))
        found = over_settings(own, lambda setting: joined(network, setting), progress)
        first = found.pop("degrees")
        alone = _alone(network, own)
        return {
            **found,
            ALONE.name: alone["under_10"],
            ALONE_MEDIAN.name: alone["median"],
            "alone_interval": alone["interval"],
            "degrees": first,
            "names": own.names,
        }

    def pictures(self, seeds: Sequence[Mapping[str, Any]], data: ObjectSet, folder: Path) -> list[Path]:
        """Of the first seed: pairs before and after, with the object that the network sees behind the target.

        The first pairs, and those whose angle is off by most.
        """
        import torch

        from gmcn.artifacts import read_metadata
        from gmcn.data.objects import of_classes, trained_classes
        from gmcn.models.loading import load
        from gmcn.pictures.clouds import draw_clouds
        from gmcn.tasks.registration.measures_of_poses import DRAWS, FIRST, pairs_of

        network: Any = load(seeds[0]["model"]["path"])
        own = of_classes(data, trained_classes(read_metadata(seeds[0]["model"]["path"])))
        pairs, errors = pairs_of(own, FIRST), torch.tensor(seeds[0]["degrees"])
        draws = torch.arange(0, len(errors), DRAWS)
        chosen = {"pairs": draws[:SHOWN], "failures": errors.argsort(descending=True, stable=True)[:SHOWN]}
        drawn = []
        for name, places in chosen.items():
            panels, colours, titles = _panels(network, pairs, places.tolist(), own.names)
            for suffix in (".png", ".html"):
                columns = len(panels) // len(places)
                drawn.append(draw_clouds(panels, folder / f"{name}{suffix}", colours, columns=columns, titles=titles))
        return drawn

    def check(self, network: Network, metadata: Mapping[str, Any], path: Path) -> None:
        """The network has to be one that gives poses."""
        if network.tasks is None or "registration" not in network.tasks:
            raise InputError(f"{path} gives no poses; train it again")

    def answer(
        self, network: Network, inputs: Inputs, metadata: Mapping[str, Any]
    ) -> list[dict[str, Any] | None]:  # of B objects
        """By how many degrees objects are turned about z from how their class stands, and the chance of that.

        The chance is that of at most 10 degrees more or less. A network that gives one direction alone has none.
        """
        found: Any = network
        poses = found.poses(inputs)
        rows: list[dict[str, Any] | None] = []
        for angle, chances in zip(poses.angles.tolist(), poses.chances.double().exp().tolist(), strict=True):
            if not math.isfinite(angle):
                rows.append(None)
                continue
            away = [abs(math.remainder(360 * k / len(chances) - math.degrees(angle), 360)) for k in range(len(chances))]
            near = sum(chance for chance, far in zip(chances, away, strict=True) if far <= NEAR)
            rows.append({"turn": math.degrees(angle) % 360, **({"chance": near} if found.angles else {})})
        return rows


def joined(network: RegistrationNetwork, setting: Setting) -> Method:
    """What the network believes, joined with the overlap of mixtures."""
    from gmcn.registration import levels_of, search
    from gmcn.registration.belief import believe

    def found(source: Tensor, target: Tensor) -> tuple[Any, float]:
        belief = believe(network, source, target)
        levels = levels_of(source, "source"), levels_of(target, "target")
        modes = search(*levels, axis=setting.axis, within=setting.bound, belief=belief)
        return modes.matrices.numpy(), modes.confidence

    return found


def _alone(network: RegistrationNetwork, data: ObjectSet) -> dict[str, Any]:
    from gmcn.registration.belief import composed
    from gmcn.tasks.registration.measures_of_poses import FIRST, measured, numbers, pairs_of

    pairs = pairs_of(data, FIRST)
    return numbers(
        pairs, measured(pairs, lambda source, target: (composed(network, source, target).numpy()[None], None))
    )


def _panels(
    network: RegistrationNetwork, pairs: Pairs, places: Sequence[int], names: Sequence[str]
) -> tuple[list[Any], list[Any], list[str]]:
    """Of each pair: before; moved as found, and as is right; as found the wholes that the network sees behind both."""
    import torch

    from gmcn.pictures.clouds import together
    from gmcn.registration.pairs import SETTINGS
    from gmcn.tasks.registration.measures_of_poses import FIRST

    method, generator = joined(network, SETTINGS[FIRST]), torch.Generator().manual_seed(0)
    panels, colours, titles = [], [], []
    for place in places:
        source, target = pairs.sources[place], pairs.targets[place]
        found = torch.from_numpy(method(source, target)[0][0]).to(source)
        right = torch.eye(4, dtype=source.dtype)
        right[:3, :3], right[:3, 3] = pairs.rotations[place], pairs.translations[place]
        name = names[int(pairs.objects[place])]
        both = [(source, target, name)]
        for matrix, title in ((found, "found"), (right, "right")):
            both.append((source @ matrix[:3, :3].mT + matrix[:3, 3], target, title))
        if network.decoder is not None:
            with torch.no_grad():
                seen = [network(cloud[None]).moved for cloud in (source, target)]
            one, two = (tree.leaves().sample(len(source), generator)[0] for tree in seen)
            both.append((one @ found[:3, :3].mT + found[:3, 3], two, "wholes, as found"))
        for one, two, title in both:
            panel, shades = together(two.numpy(), one.numpy())
            panels.append(panel)
            colours.append(shades)
            titles.append(title)
    return panels, colours, titles
