"""How clouds that a network draws compare with test and training objects: several sets, as many clouds as test objects.

The measures are those of :mod:`gmcn.results.cloud_sets`, and of :mod:`gmcn.results.cloud_classes`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gmcn.data.objects import ObjectSet
from gmcn.errors import InputError
from gmcn.models import Generative
from gmcn.progress import Progress
from gmcn.results.cloud_classes import PAIRS, STEPS, Classifier, blends, interpolations
from gmcn.results.cloud_sets import Reference
from gmcn.results.networks import TrainedNetwork
from gmcn.results.sample_settings import SampleSettings
from gmcn.results.seeds import over_seeds
from gmcn.tasks.generation.measures_of_clouds import CHAMFER, Clouds, Pairs

_LOG = logging.getLogger(__name__)
SHOWN = 8  # samples in the picture


def compare_clouds(
    networks: Sequence[TrainedNetwork], train: ObjectSet, test: ObjectSet, settings: SampleSettings
) -> dict[str, dict[str, Any]]:
    """By seed of the network the measures, means over sets, each from random numbers of its own, and ``sets``."""
    reached = torch.as_tensor(test.inputs)
    found: dict[str, dict[str, Any]] = {}
    classes = _classes(networks, test, settings)
    with Progress() as bar:
        reference = Reference(reached, torch.as_tensor(train.inputs), settings.emd_points)
        task = bar.add_task("samples", total=len(networks) * settings.sets * reference.searches(len(reached)))
        for network in networks:
            measured = [
                reference.compare(draw(network, reached.shape, settings, place), lambda count: bar.advance(task, count))
                for place in range(settings.sets)
            ]
            own = {**over_seeds(measured)[0], **classes.get(network.seed, {})}
            found[str(network.seed)] = {**own, "sets": measured, "model": network.source}
    return found


def _classes(
    networks: Sequence[TrainedNetwork], test: ObjectSet, settings: SampleSettings
) -> dict[int, dict[str, Any]]:
    """By seed the shares of :mod:`gmcn.results.cloud_classes`; empty where no classifier knows the one class."""
    if settings.classifier is None:
        return {}
    objects = torch.as_tensor(test.inputs)
    present = [] if test.labels is None else [test.class_names[label] for label in test.labels.unique().tolist()]
    classifier, size = Classifier(settings.classifier), objects.shape[1]
    if len(present) != 1 or present[0] not in classifier.classes or size != classifier.points or len(objects) < 2:
        text = "no shares of classes: %s judges two or more objects of one of its classes, of %d points each"
        _LOG.info(text, settings.classifier, classifier.points)
        return {}
    share = functools.partial(classifier.share, present[0])
    given: dict[str, Any] = {"classifier": classifier.sha256}
    given |= {"class_test": share(objects), "class_blends": share(blends(objects))}
    found = {}
    with Progress() as bar:
        task = bar.add_task("classify", total=len(networks) * (len(objects) + PAIRS * STEPS))
        for network in networks:
            made = {"samples": draw(network, objects.shape, settings), "between": _between(network, objects, settings)}
            shares = {
                f"class_{name}": share(clouds, lambda count: bar.advance(task, count)) for name, clouds in made.items()
            }
            found[network.seed] = given | shares
    return found


def draw(
    network: TrainedNetwork, shape: Sequence[int], settings: SampleSettings, place: int = 0
) -> Tensor:  # [S, M, 3]
    """As many clouds of as many points, by random numbers of the CPU, others for each place."""
    path, (count, points, _) = network.source["path"], shape
    if not isinstance(network.model, Generative):
        raise InputError(f"{path} draws nothing, so it has no samples")
    generator = torch.Generator().manual_seed(settings.seed + place)
    drawn = network.model.sample(count, generator, points=points, flatten=settings.flatten).cpu()
    return _finite(drawn, path)


def _between(network: TrainedNetwork, objects: Tensor, settings: SampleSettings) -> Tensor:
    return _finite(interpolations(network.model, objects, flatten=settings.flatten), network.source["path"])


def _finite(drawn: Tensor, path: Any) -> Tensor:
    if not drawn.isfinite().all():
        raise InputError(f"samples of {path} are not finite; train the network again")
    return drawn


def draw_neighbours(network: TrainedNetwork, train: ObjectSet, path: Path, settings: SampleSettings) -> Path:
    """Some samples, and below each the nearest training object by Chamfer distance."""
    from gmcn.pictures.clouds import draw_clouds

    objects = torch.as_tensor(train.inputs)
    samples = draw(network, (SHOWN, *objects.shape[1:]), settings)
    _, nearest = Pairs(Clouds(samples), Clouds(objects), CHAMFER).nearest()
    pairs = torch.cat([samples, objects[torch.from_numpy(nearest)]])
    return draw_clouds(list(pairs.numpy()), path, columns=SHOWN)
