"""What networks that register clouds are set beside: the search without training, and what other libraries find.

- ``registration-search``: the mixtures of both clouds, searched (:mod:`gmcn.registration.search`).
- ``registration-icp``, ``-icp-turns``, ``-ransac``, ``-fgr``: ICP of Open3D, from one start and from twelve turns; FPFH
  features with RANSAC or fast global registration, then ICP. As Open3D's documentation uses them.
- ``registration-gicp``: generalized ICP of small_gicp.

Open3D and small_gicp are installed for them alone (docs/registration.md). None learns from the training objects.
"""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gmcn.data.objects import POINTS, ObjectSet
from gmcn.errors import InputError
from gmcn.progress import Progress
from gmcn.registration.pairs import Setting
from gmcn.registration.rotations import UPWARDS, turns
from gmcn.tasks.registration.measures_of_poses import Found, Method, over_settings, without_training

# In units of a cloud in the unit ball.
NORMALS, FEATURES = (0.2, 20), (0.25, 64)  # radius and most neighbours
ALONE, AFTER, MATCH = 0.2, 0.1, 0.07  # distances of correspondences
DRAWS = 50_000  # of RANSAC
STARTS = 12


def gicp(source: Tensor, target: Tensor, start: np.ndarray) -> np.ndarray:  # [M, 3], [M', 3], [4, 4] -> [4, 4]
    """Generalized ICP of small_gicp."""
    import small_gicp

    clouds = [np.asarray(cloud, dtype=np.float64) for cloud in (target, source)]
    found = small_gicp.align(
        *clouds,
        init_T_target_source=start,
        registration_type="GICP",
        downsampling_resolution=1e-3,
        max_correspondence_distance=AFTER,
        num_threads=1,
    )
    return found.T_target_source


def middles(source: Tensor, target: Tensor, rotation: np.ndarray | None = None) -> np.ndarray:  # [4, 4]
    """The pose that lays the middle of one cloud on that of the other."""
    pose = np.eye(4)
    pose[:3, :3] = np.eye(3) if rotation is None else rotation
    pose[:3, 3] = target.mean(0).double().numpy() - pose[:3, :3] @ source.mean(0).double().numpy()
    return pose


def cloud_of(points: Tensor) -> Any:  # [M, 3]
    import open3d

    return open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points.double().numpy()))


def refined(one: Any, two: Any, start: np.ndarray, distance: float) -> Any:
    """ICP of Open3D."""
    from open3d.pipelines import registration

    point_to_point = registration.TransformationEstimationPointToPoint()
    return registration.registration_icp(one, two, distance, start, point_to_point)


def by_gicp(setting: Setting) -> Method:
    return lambda source, target: (gicp(source, target, middles(source, target))[None], None)


def by_icp(setting: Setting) -> Method:
    def icp(source: Tensor, target: Tensor) -> Found:
        found = refined(cloud_of(source), cloud_of(target), middles(source, target), ALONE)
        return found.transformation[None], None

    return icp


def by_icp_from_turns(setting: Setting) -> Method:
    """From twelve turns about the axis, the one with the largest fitness."""
    reach = math.radians(setting.bound)
    spread = -reach + 2 * reach * (torch.arange(STARTS, dtype=torch.float64) + 0.5) / STARTS
    several = turns(UPWARDS, spread).numpy()

    def many(source: Tensor, target: Tensor) -> Found:
        one, two = cloud_of(source), cloud_of(target)
        found = [refined(one, two, middles(source, target, turn), ALONE) for turn in several]
        best = sorted(found, key=lambda each: (-each.fitness, each.inlier_rmse))
        return np.stack([each.transformation for each in best]), None

    return many


def features(one: Any) -> Any:
    import open3d

    one.estimate_normals(open3d.geometry.KDTreeSearchParamHybrid(*NORMALS))
    return open3d.pipelines.registration.compute_fpfh_feature(one, open3d.geometry.KDTreeSearchParamHybrid(*FEATURES))


def by_ransac(setting: Setting) -> Method:
    import open3d

    three = open3d.pipelines.registration
    checkers = [
        three.CorrespondenceCheckerBasedOnEdgeLength(0.9),
        three.CorrespondenceCheckerBasedOnDistance(MATCH),
    ]

    def ransac(source: Tensor, target: Tensor) -> Found:
        open3d.utility.random.seed(0)
        one, two = cloud_of(source), cloud_of(target)
        found = three.registration_ransac_based_on_feature_matching(
            one,
            two,
            features(one),
            features(two),
            True,
            MATCH,
            three.TransformationEstimationPointToPoint(False),
            3,
            checkers,
            three.RANSACConvergenceCriteria(DRAWS, 0.999),
        )
        return refined(one, two, found.transformation, AFTER).transformation[None], None

    return ransac


def by_fgr(setting: Setting) -> Method:
    import open3d

    registration = open3d.pipelines.registration
    option = registration.FastGlobalRegistrationOption(maximum_correspondence_distance=MATCH)

    def fast(source: Tensor, target: Tensor) -> Found:
        open3d.utility.random.seed(0)
        one, two = cloud_of(source), cloud_of(target)
        ends = features(one), features(two)
        found = registration.registration_fgr_based_on_feature_matching(one, two, *ends, option)
        return refined(one, two, found.transformation, AFTER).transformation[None], None

    return fast


# By the name of the rival: what it is, and the package that it takes.
REGISTRATION: dict[str, tuple[Callable[[Setting], Method], str | None]] = {
    "registration-search": (without_training, None),
    "registration-gicp": (by_gicp, "small_gicp"),
    "registration-icp": (by_icp, "open3d"),
    "registration-icp-turns": (by_icp_from_turns, "open3d"),
    "registration-ransac": (by_ransac, "open3d"),
    "registration-fgr": (by_fgr, "open3d"),
}


def installed(rival: str) -> bool:
    """Whether the package of a rival is there."""
    package = REGISTRATION[rival][1]
    return package is None or importlib.util.find_spec(package) is not None


def refer_registration(name: str, train: ObjectSet, test: ObjectSet) -> dict[str, Any]:
    """The parts of the result of such a rival, which learns nothing from the training objects.

    Raises :class:`InputError` for objects that are no clouds in space, and where its package is not installed.
    """
    if test.kind != POINTS or test.traits["dim"] != 3:
        raise InputError(f"the rival {name} is one of networks that register clouds, and these are {test.kind}")
    way, package = REGISTRATION[name]
    if not installed(name):
        raise InputError(f"the rival {name} needs {package}: pip install -c constraints.txt {package}")
    started = time.perf_counter()
    with Progress() as bar:
        task = bar.add_task("register", total=len(test))
        found = over_settings(test, way, lambda done: bar.advance(task, done))
    settings, degrees = found.pop("settings"), found.pop("degrees")
    return {
        "metrics": {key: value for key, value in found.items() if value is not None and key != "mean"},
        "details": {"settings": settings, "degrees": degrees},
        "seconds": {"prediction": time.perf_counter() - started},
        "objects": {"train": 0, "of": 0, "test": len(test)},
        "names": test.names,
    }
