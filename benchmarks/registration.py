"""How well and how fast clouds are registered.

The task: find the pose of one cloud on another one of the same object, which has no point in common with it; the
protocol is that of docs/registration.md. Times are of one thread, with everything that a method does from the points
on. Rivals that are installed are measured on the same pairs: those of Open3D (as its documentation uses them) and
small_gicp. Without installed rivals only our own ways run. The interval is that of 95 % by bootstrap over objects.
"""

from __future__ import annotations

import importlib.util
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import arguments, progress, report, save

from gmcn.data import sample
from gmcn.data.objects import TEST, TRAIN, read_split
from gmcn.registration import levels_of, search
from gmcn.registration.pairs import UP, Pairs, Setting, draw_pairs
from gmcn.registration.rotations import angles_between, turns
from gmcn.registration.search import ABOUT, Effort

SETTINGS = {
    "up-360": Setting(coverage=(0.5, 0.8)),
    "up-360-full": Setting(),
    "up-360-few": Setting(coverage=(0.3, 0.5)),
    "up-30": Setting(coverage=(0.5, 0.8), within=30),
    "up-360-noise": Setting(coverage=(0.5, 0.8), noise=0.01),
    "all": Setting(coverage=(0.5, 0.8), turn="all"),
    "all-full": Setting(turn="all"),
    "rpm": Setting(coverage=(0.7, 0.7), turn="euler", within=45, noise=0.01),
}
UPWARDS = torch.eye(3, dtype=torch.float64)[UP]
# In units of a cloud in the unit ball.
NORMALS, FEATURES = (0.2, 20), (0.25, 64)  # radius and most neighbours
ALONE, AFTER, MATCH = 0.2, 0.1, 0.07  # distances of correspondences
DRAWS = 50_000  # of RANSAC
STARTS = 12
BRUTE = Effort(720, 720, ((0, 24, 720), (1, 20, 720)), fine=True)
HEAVY, ALIKE = 0.05, 5.0  # weight and degrees: which modes are looked for, and which are the same
SAMPLES = 2000  # of the bootstrap

# Source and target [M, 3] -> poses [Q, 4, 4], best first, and the weight of the first, which only ours have.
Found = tuple[np.ndarray, float | None]
Method = Callable[[torch.Tensor, torch.Tensor], Found]


def axis_of(setting: Setting) -> torch.Tensor | None:  # [3]
    """The axis of all turns, where there is one."""
    return UPWARDS if setting.turn == "up" else None


def bound(setting: Setting) -> float:
    """Degrees that no turn is above; three angles of at most 45 degrees turn by at most 78."""
    return {"up": setting.within, "all": 180.0, "euler": 1.75 * setting.within}[setting.turn]


def ours(setting: Setting) -> dict[str, Method]:
    axis, within = axis_of(setting), bound(setting)

    def mixtures(source: torch.Tensor, target: torch.Tensor) -> Found:
        found = search(levels_of(source, "source"), levels_of(target, "target"), axis=axis, within=within)
        return found.matrices.numpy(), found.confidence

    def refined(source: torch.Tensor, target: torch.Tensor) -> Found:
        poses, weight = mixtures(source, target)
        return gicp(source, target, poses), weight

    return {"gmcn": mixtures} | ({"gmcn, then GICP": refined} if importlib.util.find_spec("small_gicp") else {})


def gicp(source: torch.Tensor, target: torch.Tensor, starts: np.ndarray) -> np.ndarray:
    """Generalized ICP of small_gicp from the first of the starts; the others stay."""
    import small_gicp

    clouds = [np.asarray(cloud, dtype=np.float64) for cloud in (target, source)]
    found = small_gicp.align(
        *clouds,
        init_T_target_source=starts[0],
        registration_type="GICP",
        downsampling_resolution=1e-3,
        max_correspondence_distance=AFTER,
        num_threads=1,
    )
    return np.concatenate([found.T_target_source[None], starts[1:]])


def middles(source: torch.Tensor, target: torch.Tensor, rotation: np.ndarray | None = None) -> np.ndarray:  # [4, 4]
    """The pose that lays the middle of one cloud on that of the other."""
    pose = np.eye(4)
    pose[:3, :3] = np.eye(3) if rotation is None else rotation
    pose[:3, 3] = target.mean(0).double().numpy() - pose[:3, :3] @ source.mean(0).double().numpy()
    return pose


def rivals(setting: Setting) -> dict[str, Method]:
    """Of those that are installed."""
    ways: dict[str, Method] = {}
    if importlib.util.find_spec("small_gicp"):
        ways["GICP (small_gicp)"] = lambda source, target: (gicp(source, target, middles(source, target)[None]), None)
    if not importlib.util.find_spec("open3d"):
        return ways
    import open3d

    three = open3d.pipelines.registration
    reach = math.radians(bound(setting))
    spread = -reach + 2 * reach * (torch.arange(STARTS) + 0.5) / STARTS
    several = turns(UPWARDS, spread).numpy()

    def cloud(points: torch.Tensor) -> Any:
        return open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points.double().numpy()))

    def refine(one: Any, two: Any, start: np.ndarray, distance: float) -> Any:
        return three.registration_icp(one, two, distance, start, three.TransformationEstimationPointToPoint())

    def icp(source: torch.Tensor, target: torch.Tensor) -> Found:
        return refine(cloud(source), cloud(target), middles(source, target), ALONE).transformation[None], None

    def many(source: torch.Tensor, target: torch.Tensor) -> Found:
        one, two = cloud(source), cloud(target)
        found = [refine(one, two, middles(source, target, turn), ALONE) for turn in several]
        best = sorted(found, key=lambda each: (-each.fitness, each.inlier_rmse))
        return np.stack([each.transformation for each in best]), None

    def features(one: Any) -> Any:
        one.estimate_normals(open3d.geometry.KDTreeSearchParamHybrid(*NORMALS))
        return three.compute_fpfh_feature(one, open3d.geometry.KDTreeSearchParamHybrid(*FEATURES))

    def ransac(source: torch.Tensor, target: torch.Tensor) -> Found:
        open3d.utility.random.seed(0)
        one, two = cloud(source), cloud(target)
        found = three.registration_ransac_based_on_feature_matching(
            one,
            two,
            features(one),
            features(two),
            True,
            MATCH,
            three.TransformationEstimationPointToPoint(False),
            3,
            [
                three.CorrespondenceCheckerBasedOnEdgeLength(0.9),
                three.CorrespondenceCheckerBasedOnDistance(MATCH),
            ],
            three.RANSACConvergenceCriteria(DRAWS, 0.999),
        )
        return refine(one, two, found.transformation, AFTER).transformation[None], None

    def fast(source: torch.Tensor, target: torch.Tensor) -> Found:
        one, two = cloud(source), cloud(target)
        option = three.FastGlobalRegistrationOption(maximum_correspondence_distance=MATCH)
        found = three.registration_fgr_based_on_feature_matching(one, two, features(one), features(two), option)
        return refine(one, two, found.transformation, AFTER).transformation[None], None

    ways |= {"ICP": icp, f"ICP from {STARTS} turns": many, "FPFH, RANSAC, ICP": ransac, "FPFH, FGR, ICP": fast}
    return ways


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


def measured(pairs: Pairs, method: Method, limit: float) -> dict[str, np.ndarray]:
    """Of each pair: degrees and length by which the first pose errs, degrees of the nearest, milliseconds, weight."""
    rows, begin = [], time.perf_counter()
    for place in range(len(pairs.objects)):
        source, target = pairs.sources[place], pairs.targets[place]
        start = time.process_time()
        found, weight = method(source, target)
        seconds = time.process_time() - start
        poses = torch.from_numpy(np.array(found))
        angles = angles_between(poses[:, :3, :3], pairs.rotations[place][None])[:, 0]
        middle = source.mean(0).double()
        wanted = pairs.rotations[place] @ middle + pairs.translations[place]
        length = (poses[0, :3, :3] @ middle + poses[0, :3, 3] - wanted).norm()
        rows.append((angles[0].item(), angles.min().item(), length.item(), 1e3 * seconds, weight))
        if time.perf_counter() - begin > limit:
            break
    return dict(zip(("degrees", "nearest", "length", "ms", "weight"), np.array(rows, dtype=float).T, strict=True))


def interval(hits: np.ndarray, objects: np.ndarray) -> str:
    """Of a share, in percent."""
    means = np.array([hits[objects == each].mean() for each in np.unique(objects)])
    chosen = np.random.default_rng(0).integers(len(means), size=(SAMPLES, len(means)))
    low, high = np.percentile(means[chosen].mean(1), [2.5, 97.5])
    return f"{100 * low:.0f} to {100 * high:.0f}"


def row_of(name: str, way: str, pairs: Pairs, found: dict[str, np.ndarray]) -> dict[str, Any]:
    degrees, count = found["degrees"], len(found["degrees"])
    hits = degrees < 10
    return {
        "setting": name,
        "way": way,
        "under 10 degrees (%)": 100 * hits.mean(),
        **({} if np.isnan(found["weight"]).any() else {"mean weight (%)": 100 * found["weight"].mean()}),
        "interval": interval(hits, pairs.objects[:count].numpy()),
        "any mode (%)": 100 * (found["nearest"] < 10).mean(),
        "under 5 (%)": 100 * (degrees < 5).mean(),
        "median (degrees)": float(np.median(degrees)),
        "mean": degrees.mean(),
        "median length": float(np.median(found["length"])),
        "ms": found["ms"].mean(),
        "pairs": count,
    }


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
            for way, method in (ours(SETTINGS[name]) | rivals(SETTINGS[name])).items():
                progress(f"{name}: {way}")
                rows.append(row_of(name, way, pairs, measured(pairs, method, options.limit)))
                save("registration", __doc__, rows, options)
            if options.similarity or options.smoke:
                found = similarities(pairs, axis_of(SETTINGS[name]))
                rows.append({"setting": name, "way": "gmcn: 5 to 95 % of pairs", **found})
        if options.brute_force or options.smoke:
            progress("brute force")
            brute = beside_brute_force(draw_pairs(clouds, SETTINGS["up-360"], 2), options.limit)
            rows.append({"setting": "up-360", "way": "gmcn beside brute force", "pairs": brute.pop("pairs"), **brute})
    report("registration", __doc__, rows, options)


if __name__ == "__main__":
    main()
