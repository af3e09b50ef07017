"""Errors of completed clouds: of what a plane has cut off, and of the whole object. Needs SciPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gmcn.data.views import Planes
from gmcn.errors import InputError
from gmcn.tasks.generation.measures_of_clouds import ONE_SIDED, Clouds, Pairs, to_nearest

if TYPE_CHECKING:
    from scipy.spatial import KDTree

COVERAGES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)  # shares of a cloud that are seen
COVERAGE = 0.5  # that of the metrics


def completion_errors(
    predicted: Tensor,  # [S, P, 3]
    points: Tensor,  # [S, M, 3]
    kept: Tensor,  # [S, M] bool
    planes: Planes,  # S
) -> dict[str, Tensor]:  # [S] float64 each
    """How far predicted whole objects are from the true ones, of which views (:func:`gmcn.data.views.look`) saw parts.

    ``chamfer`` is the Chamfer distance (:mod:`gmcn.tasks.generation.measures_of_clouds`) between the true points that
    were not kept and the predicted points that do not lie beyond the view's plane: normal · x <= offset. Where all
    predicted points lie beyond it, the one that is nearest to the plane is taken alone. ``whole`` is the Chamfer
    distance between all points of both. Both are squared; ``chamfer_unsquared`` and ``whole_unsquared`` are of
    distances that are not.

    Chamfer distances depend on the numbers of points: what is compared should predict as many, best M.

    Raises:
        InputError: sizes that do not fit, values that are not finite, a view that kept a whole object.
    """
    true, found = Clouds(points), Clouds(predicted)
    if len(true) != len(found) or kept.shape != points.shape[:2]:
        raise InputError(
            f"{len(found)} completed clouds and views {list(kept.shape)} do not belong to clouds {list(points.shape)}"
        )
    whole = kept.all(1)
    if whole.any():
        raise InputError(
            f"nothing is missing of cloud {int(whole.nonzero()[0])} (from 0) that could be completed; take a coverage "
            "below 1"
        )
    heights = planes.heights(predicted).cpu()
    beside = (heights <= heights.amin(1, keepdim=True).clamp_min(0)).numpy()  # [S, P]
    missing = (~kept).cpu().numpy()
    rows = []
    for i, (there, here) in enumerate(zip(true.points, found.points, strict=True)):
        part = _both_ways(there[missing[i]], here[beside[i]])
        rows.append([*part, *_both_ways(there, here, true.trees[i], found.trees[i])])
    names = ("chamfer", "chamfer_unsquared", "whole", "whole_unsquared")
    return dict(zip(names, torch.tensor(rows, dtype=torch.float64).T, strict=True))


def _both_ways(
    one: np.ndarray,  # [M, 3]
    two: np.ndarray,  # [P, 3]
    first: KDTree | None = None,
    second: KDTree | None = None,
) -> tuple[float, float]:
    """The Chamfer distance, squared and not."""
    from scipy.spatial import KDTree

    there, back = to_nearest(one, second or KDTree(two)), to_nearest(two, first or KDTree(one))
    return float((there**2).mean() + (back**2).mean()), float(there.mean() + back.mean())


def nearest_objects(
    seen: Tensor,  # [S, P, 3]
    training: Tensor,  # [T, M, 3]
    progress: Callable[[int], object] = lambda count: None,
) -> Tensor:  # [S]
    """The place of the training object that lies nearest to what is seen of each cloud.

    By the mean squared distance from the seen points to the object's: what the object has besides costs nothing.
    """
    places = Pairs(Clouds(seen), Clouds(training), ONE_SIDED).nearest(progress=progress)[1]
    return torch.from_numpy(places)
