"""How well and how fast clouds are registered.

The task: find the pose of one cloud on another one of the same object, which has no point in common with it; the
protocol is that of docs/registration.md. Times are of one thread, with everything that a method does from the points
on. Rivals that are installed are measured on the same pairs: those of Open3D (as its documentation uses them) and
small_gicp. Without installed rivals only our own ways run. The interval is that of 95 % by bootstrap over objects.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import arguments, progress, report, save

import gmcn
from gmcn.config.sections import RIVALS
from gmcn.data import sample
from gmcn.data.objects import TEST, TRAIN, read_split
from gmcn.registration import levels_of, search
from gmcn.registration.pairs import SETTINGS, Pairs, Setting, draw_pairs
from gmcn.registration.rotations import UPWARDS, angles_between
from gmcn.registration.search import ABOUT, Effort
from gmcn.results.registration_references import REGISTRATION, gicp, installed
from gmcn.tasks.registration.measures import joined
from gmcn.tasks.registration.measures_of_poses import Found, Method, measured, numbers, without_training

BRUTE = Effort(720, 720, ((0, 24, 720), (1, 20, 720)), fine=True)
HEAVY, ALIKE = 0.05, 5.0  # weight and degrees: which modes are looked for, and which are the same
COLUMNS = {
    "under_10": "under 10 degrees (%)",
    "weight": "mean weight (%)",
    "interval": "interval",
    "any_mode": "any mode (%)",
    "under_5": "under 5 (%)",
    "median": "median (degrees)",
    "mean": "mean",
    "length": "median length",
    "milliseconds": "ms",
    "pairs": "pairs",
}


def ways(setting: Setting, model: str | None) -> dict[str, Method]:
    """Ours, with a network where there is one for this setting, and what is installed."""
    network: Any = gmcn.load(model) if model and setting.turn == "up" else None
    mixtures = without_training(setting)

    def refined(source: torch.Tensor, target: torch.Tensor) -> Found:
        poses, weight = mixtures(source, target)
        poses[0] = gicp(source, target, poses[0])
        return poses, weight

    found = {} if network is None else {"gmcn, network": joined(network, setting)}
    found |= {"gmcn": mixtures}
    if installed("registration-gicp"):
        found["gmcn, then GICP"] = refined
    others = (name for name in REGISTRATION if name != "registration-search" and installed(name))
    return found | {RIVALS[name].label: REGISTRATION[name][0](setting) for name in others}


def beside_brute_force(pairs: Pairs, limit: float) -> dict[str, Any]:
    """How many of the modes of 720 turns about the axis, on the fine mixtures, the search finds, and in which time."""
    found, times, count = [], [0.0, 0.0], 0
    begin = time.perf_counter()
    for source, target in zip(pairs.sources, pairs.targets, strict=True):
        levels, modes = (levels_of(source, "source"), levels_of(target, "target")), []
        for place, effort in enumerate((ABOUT, BRUTE)):
            start = time.process_time()
            modes.append(search(*levels, axis=UPWARDS, effort=effort))
            times[place] += time.process_time() - start
        between = angles_between(modes[1].rotations, modes[0].rotations).amin(1)
        heavy = modes[1].weights >= HEAVY
        found.append((between[0] < ALIKE, (between[heavy] < ALIKE).sum(), heavy.sum()))
        count += 1
        if time.perf_counter() - begin > limit:
            break
    best, again, heavy = torch.tensor(found).sum(0).tolist()
    return {
        "pairs": count,
        "heaviest modes found (%)": 100 * best / count,
        f"modes of weight {HEAVY} and more found (%)": 100 * again / heavy,
        "modes": heavy,
        "ms": 1e3 * times[0] / count,
        "ms, brute force": 1e3 * times[1] / count,
    }


def similarities(pairs: Pairs, axis: torch.Tensor | None) -> dict[str, Any]:
    """Of the heaviest modes of pairs of one object, and of each source on a target of the next object."""
    draws = int((pairs.objects == 0).sum())
    row: dict[str, Any] = {"pairs": len(pairs.objects)}
    for name, targets in (("one object", pairs.targets), ("two objects", pairs.targets.roll(-draws, 0))):
        found = [
            search(levels_of(source, "source"), levels_of(target, "target"), axis=axis).similarities[0]
            for source, target in zip(pairs.sources, targets, strict=True)
        ]
        low, high = torch.stack(found).quantile(torch.tensor([0.05, 0.95], dtype=torch.float64)).tolist()
        row[f"similarity, {name}"] = f"{low:.2f} to {high:.2f}"
    return row


def row_of(name: str, way: str, found: dict[str, Any]) -> dict[str, Any]:
    low, high = found["interval"]
    shown = {**found, "interval": f"{100 * low:.0f} to {100 * high:.0f}"}
    percent = {key for key, title in COLUMNS.items() if title.endswith("(%)")}
    values = {key: value for key, value in shown.items() if value is not None}
    scaled = {key: 100 * value if key in percent else value for key, value in values.items()}
    return {"setting": name, "way": way, **{title: scaled[key] for key, title in COLUMNS.items() if key in scaled}}


def clouds_of(options: Any) -> torch.Tensor:  # [S, M, 3]
    data = read_split(options.points, TRAIN if options.train else TEST)
    inputs, labels = data.inputs.float(), data.labels
    if options.classes:
        first, last = options.classes
        inputs = inputs[(labels >= first) & (labels <= last)]
    if options.objects:
        inputs = inputs[torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))[: options.objects]]
    return inputs


def main() -> None:
    options = arguments(
        __doc__,
        ("--points", {"type": Path, "help": "what `gmcn sample` made of the data set; its test split is registered"}),
        (
            "--settings",
            {
                "nargs": "*",
                "choices": SETTINGS,
                "default": list(SETTINGS),
                "help": "of the protocol, or none",
            },
        ),
        (
            "--model",
            {"help": "a network for settings about the axis; with --train one that has not seen these objects"},
        ),
        ("--train", {"action": "store_true", "help": "the training split instead, to choose by"}),
        ("--similarity", {"action": "store_true", "help": "also the similarity of pairs of one and of two objects"}),
        ("--brute-force", {"action": "store_true", "help": "also the modes of 720 turns, on the fine mixtures"}),
        ("--draws", {"type": int, "default": 10, "help": "pairs of each object (default: 10)"}),
        ("--objects", {"type": int, "help": "so many objects at random (default: all)"}),
        ("--classes", {"type": int, "nargs": 2, "help": "the first and the last class, from 0 (default: all)"}),
    )
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        if options.smoke:
            options.points, options.draws, options.objects = Path(name) / "solids.safetensors", 1, 3
            settings = {"kind": "solids", "train_per_class": 1, "test_per_class": 1, "points": 256}
            sample("solids", settings=settings, downloads=None, output=options.points)
        clouds = clouds_of(options)
        for name in options.settings:
            pairs = draw_pairs(clouds, SETTINGS[name], options.draws)
            for way, method in ways(SETTINGS[name], options.model).items():
                progress(f"{name}: {way}")
                rows.append(row_of(name, way, numbers(pairs, measured(pairs, method, limit=options.limit))))
                save("registration", __doc__, rows, options)
            if options.similarity or options.smoke:
                found = similarities(pairs, SETTINGS[name].axis)
                rows.append({"setting": name, "way": "gmcn: 5 to 95 % of pairs", **found})
        if options.brute_force or options.smoke:
            progress("brute force")
            brute = beside_brute_force(draw_pairs(clouds, SETTINGS["up-360"], 2), options.limit)
            rows.append({"setting": "up-360", "way": "gmcn beside brute force", "pairs": brute.pop("pairs"), **brute})
    report("registration", __doc__, rows, options)


if __name__ == "__main__":
    main()
