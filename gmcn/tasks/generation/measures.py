"""How likely points are that a network has not seen, how near its clouds come, and how it completes partial ones.

The metrics are read without torch, by tables and the configuration: what measures imports it where it is used.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gmcn.errors import InputError
from gmcn.tasks.metric import Metric

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from gmcn.data.objects import Inputs, ObjectSet
    from gmcn.mixture.tree import MixtureTree
    from gmcn.models import Network, PointGMM

BATCH = 50  # bounds memory
SEED = 0  # of views and of drawn points
TIMED = 20  # objects, one at a time
SHOWN = 8  # objects in a picture
LOG_LIKELIHOOD = Metric("log_likelihood", "log-likelihood of unseen points", "nats per point", 3, larger_is_better=True)
ADAPTED = Metric("adapted", "the same, adapted to the seen points", "nats per point", 3, larger_is_better=True)
CHAMFER = Metric("chamfer", "Chamfer distance", "1e-3", 2, scale=1e3)
COMPLETION = Metric("completion", "Chamfer distance of the missing half", "1e-3", 2, scale=1e3)
MISSING = Metric("missing", "log-likelihood of the missing half", "nats per point", 3, larger_is_better=True)
PARTS = Metric("parts", "purity of leaves by part of synthetic chairs", "%", 1, larger_is_better=True, scale=100)
CELLS = Metric("cells", "the same of k-means clusters", "%", 1, larger_is_better=True, scale=100)


class Measures:
    """Of test objects of the trained classes, of each of which the network sees ``training.views.points``.

    They are a fixed choice, :func:`gmcn.data.views.parted`. The likelihood is that of the
    others under the leaves; the Chamfer distance is between these and as many points that are drawn from the leaves.
    What completes half an object is measured by
    :func:`gmcn.tasks.generation.measures_of_completion.completion_errors`; of networks that know chairs, what parts are
    by :mod:`gmcn.tasks.generation.measures_of_parts`.
    """

    metrics = (LOG_LIKELIHOOD, ADAPTED, CHAMFER, COMPLETION, MISSING, PARTS, CELLS)
    headline = LOG_LIKELIHOOD
    details = ("levels", "completions", "seconds", "bytes")

    def measure(
        self,
        network: PointGMM,
        data: ObjectSet,
        device: torch.device | str = "cpu",
        progress: Callable[[int], object] = lambda _: None,
        metadata: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The metrics, the likelihood of each level, completion by coverage, seconds an object takes, and its bytes.

        ``seconds`` is from one cloud to its leaves, at a time, with the threads that there are; ``bytes`` are those of
        a code and of the leaves in float32.
        """
        import torch

        from gmcn.data.objects import of_classes, trained_classes
        from gmcn.data.views import parted
        from gmcn.fitting import adapt
        from gmcn.nn.tree_likelihood import exact
        from gmcn.tasks.generation.measures_of_clouds import chamfer
        from gmcn.tasks.generation.measures_of_completion import COVERAGE, COVERAGES

        own = of_classes(data, trained_classes(metadata))
        points, count = own.inputs, seen_points(metadata)
        assert isinstance(points, torch.Tensor)
        generator = torch.Generator().manual_seed(SEED)
        values: dict[str, list[Tensor]] = {"levels": [], "adapted": [], "chamfer": []}
        with torch.no_grad():
            for part in points.split(BATCH):
                seen, others = parted(part.to(device), count)
                tree = network(seen)
                values["levels"].append(torch.stack([exact(level, others).mean(1) for level in tree.levels], 1).cpu())
                values["adapted"].append(adapt(tree.leaves(), seen).log_prob(others).mean(1).cpu())
                drawn = tree.leaves().sample(others.shape[1], generator).cpu()
                values["chamfer"].append(chamfer(drawn, others.cpu()))
                progress(len(part))
        found = {name: torch.cat(parts).double() for name, parts in values.items()}
        bad = (~found["levels"].isfinite().all(1) | ~found["adapted"].isfinite()).nonzero().squeeze(1)
        if len(bad):
            raise InputError(
                f"the log-likelihood of '{own.names[int(bad[0])]}' is not finite ({len(bad)} of {len(own)} objects); "
                "train the network again, with a larger network.floor or a lower training.learning_rate"
            )
        completions = {str(coverage): complete(network, points, coverage, count, device) for coverage in COVERAGES}
        half = completions[str(COVERAGE)]
        levels = found["levels"].mean(0).tolist()
        return {
            LOG_LIKELIHOOD.name: levels[-1],
            ADAPTED.name: found["adapted"].mean().item(),
            CHAMFER.name: found["chamfer"].mean().item(),
            COMPLETION.name: half["chamfer"],
            MISSING.name: half["log_likelihood"],
            **_parts(network, own, count, device),
            "levels": levels,
            "completions": completions,
            "seconds": _seconds(network, points[:TIMED, :count].to(device)),
            "bytes": _bytes(network),
            "log_likelihoods": found["levels"][:, -1].tolist(),
            "names": own.names,
        }

    def pictures(self, seeds: Sequence[Mapping[str, Any]], data: ObjectSet, folder: Path) -> list[Path]:
        """Of the first seed: test objects and what is drawn for them, in colours of the leaves; levels; ways; samples.

        Each is a picture, and a page to turn.
        """
        import torch

        from gmcn.artifacts import read_metadata
        from gmcn.data.objects import of_classes, trained_classes
        from gmcn.models.loading import load
        from gmcn.pictures.clouds import draw_clouds, draw_mixtures, group_colours

        path = seeds[0]["model"]["path"]
        network: Any = load(path)
        own = of_classes(data, trained_classes(read_metadata(path)))
        points, generator = torch.as_tensor(own.inputs)[:SHOWN], torch.Generator().manual_seed(SEED)
        count = points.shape[1]
        with torch.no_grad():
            tree = network(points)
            clouds, owner = with_redrawn(tree, points, generator)
            ends = [points[[place, -1 - place]] for place in range(min(2, len(points)))]
            ways = [network.between(pair, SHOWN, generator, points=count) for pair in ends]
            new = network.sample(SHOWN, generator, points=count)
        shades = list(group_colours(owner.numpy(), network.leaves))
        drawn = []
        for suffix in (".png", ".html"):
            name = f"reconstructions{suffix}"
            drawn += [
                draw_clouds(list(clouds.numpy()), folder / name, shades, columns=len(points)),
                draw_mixtures([level[0].mixture() for level in tree.levels], folder / f"levels{suffix}"),
                draw_clouds(list(torch.cat(ways).numpy()), folder / f"interpolations{suffix}", columns=SHOWN),
                draw_clouds(list(new.numpy()), folder / f"samples{suffix}", columns=SHOWN // 2),
            ]
        return drawn

    def check(self, network: Network, metadata: Mapping[str, Any], path: Path) -> None:
        """The network has to be one that generates clouds."""
        if network.tasks is None or "generation" not in network.tasks:
            raise InputError(f"{path} generates no clouds; train it again")

    def answer(
        self, network: Network, inputs: Inputs, metadata: Mapping[str, Any]
    ) -> list[dict[str, Any] | None]:  # of B objects
        """The log-likelihood in nats per point of the points that the network is not shown, under the leaves."""
        from gmcn.data.views import parted
        from gmcn.nn.tree_likelihood import exact

        clouds: Any = inputs
        seen, others = parted(clouds, seen_points(metadata))
        values = exact(network(seen).leaves(), others).mean(1).tolist()
        return [{"log_likelihood": value} if math.isfinite(value) else None for value in values]


def complete(
    network: PointGMM,
    points: Tensor,  # [S, M, 3]
    coverage: float,
    seen: int,
    device: torch.device | str,
) -> dict[str, float]:
    """Means over clouds of which a plane has left this share: errors and likelihood of the rest, by the leaves.

    The leaves are adapted to what is seen, but for their weights: that nothing is seen of a part says nothing.
    """
    import torch

    from gmcn.data.views import Views, look
    from gmcn.fitting import adapt
    from gmcn.tasks.generation.measures_of_completion import completion_errors

    view = look(points, Views(seen, (coverage, coverage)), torch.Generator().manual_seed(SEED))
    generator, predicted, likely = torch.Generator().manual_seed(SEED), [], []
    with torch.no_grad():
        for part, shown, kept in zip(
            points.split(BATCH), view.points.split(BATCH), view.kept.split(BATCH), strict=True
        ):
            given = shown.to(device)
            leaves = adapt(network(given).leaves(), given, weights=False)
            predicted.append(leaves.sample(points.shape[1], generator).cpu())
            values = leaves.log_prob(part.to(device)).cpu().double()
            likely.append(values.masked_fill(kept, 0).sum(1) / (~kept).sum(1))
    errors = completion_errors(torch.cat(predicted), points, view.kept, view.planes)
    return {
        **{name: float(value.mean()) for name, value in errors.items()},
        "log_likelihood": torch.cat(likely).mean().item(),
    }


def with_redrawn(
    tree: MixtureTree,  # of S objects
    points: Tensor,  # [S, M, 3]
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:  # [2 S, M, 3], [2 S, M]
    """The objects, then as many points drawn from their leaves, and the leaf that each point most likely comes from."""
    import torch

    from gmcn.models.pointgmm import draw

    leaves, again = tree.leaves(), draw(tree, points.shape[1], generator)
    owners = [leaves.responsibilities(each).argmax(-1) for each in (points, again)]
    return torch.cat([points, again]), torch.cat(owners)


def seen_points(metadata: Mapping[str, Any] | None) -> int:
    """How many points a network was trained to see."""
    from gmcn.data.views import Views

    views = ((metadata or {}).get("settings") or {}).get("training", {}).get("views") or {}
    return views.get("points", Views().points)


def _seconds(network: PointGMM, points: Tensor) -> float:  # [S, M, 3]
    """The median over objects, one at a time."""
    import torch

    def now() -> float:
        if points.is_cuda:  # where a network returns before it has computed
            torch.cuda.synchronize(points.device)
        return time.perf_counter()

    taken = []
    with torch.no_grad():
        for one in points.split(1):
            start = now()
            network(one)
            taken.append(now() - start)
    return sorted(taken)[len(taken) // 2]


def _parts(network: PointGMM, data: ObjectSet, seen: int, device: torch.device | str) -> dict[str, float | None]:
    from gmcn.tasks.generation.measures_of_parts import of_leaves

    known = set() if data.labels is None else {data.class_names[label] for label in data.labels.unique().tolist()}
    alike = data.metadata.get("settings", {}).get("normalize", False)  # in the unit sphere, as the synthetic ones
    found: dict[str, float] = of_leaves(network, seen, device) if alike and "chair" in known else {}
    return {PARTS.name: found.get("purity"), CELLS.name: found.get("cells")}


def _bytes(network: PointGMM) -> dict[str, int]:
    """A code, and the leaves with weight, mean and covariance each, in float32."""
    return {"code": 4 * network.latent, "leaves": 4 * 10 * network.leaves}
