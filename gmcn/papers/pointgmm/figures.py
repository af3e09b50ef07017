"""What a PointGMM has learnt of clouds: levels of its tree, leaves as parts, interpolations, samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gmcn.artifacts import read_metadata
from gmcn.data.objects import POINTS, TEST, TRAIN, of_classes, read_split
from gmcn.errors import InputError
from gmcn.models.loading import load
from gmcn.models.pointgmm import PointGMM
from gmcn.nn.tree_likelihood import exact
from gmcn.papers.pointgmm.settings import CloudFigureSettings
from gmcn.pictures.clouds import draw_clouds, draw_mixtures, group_colours
from gmcn.tasks.generation.measures import seen_points, with_redrawn
from gmcn.tasks.generation.measures_of_clouds import CHAMFER, Clouds, Pairs, chamfer
from gmcn.tasks.generation.measures_of_parts import CHAIRS, PARTS, majority, make_chairs, owners, purity

SEED = 0
ENDS = 4  # of two interpolations

Inputs = Mapping[str, Path]
Drawn = tuple[dict[str, Any], Callable[[Path], Path]]


@dataclass(frozen=True)
class Shown:
    """A network with the objects of its classes, and how many points of an object it sees."""

    network: PointGMM
    train: Tensor  # [T, M, 3]
    test: Tensor  # [S, M, 3]
    names: list[str]
    seen: int

    @classmethod
    def read(cls, inputs: Inputs, settings: CloudFigureSettings) -> Shown:
        """From a model and the artifact of its data set's points. Raises :class:`InputError` for others."""
        model, artifact = inputs.values()
        network, metadata = load(model), read_metadata(model)
        if not isinstance(network, PointGMM):
            raise InputError(f"{model} is no PointGMM, which the figure shows")
        classes, seen = metadata["settings"]["training"].get("classes"), seen_points(metadata)
        train, test = (of_classes(read_split(artifact, part), classes) for part in (TRAIN, TEST))
        if test.kind != POINTS or test.traits["dim"] != 3 or test.traits["shape"][0] <= seen:
            raise InputError(f"{artifact} has no clouds in space of more than the {seen} points that {model} sees")
        if len(test) < max(settings.objects, ENDS):
            raise InputError(
                f"{artifact} has {len(test)} test objects, and needs {ENDS}; pointgmm.objects is {settings.objects}"
            )
        known, others = (torch.as_tensor(part.inputs).float() for part in (train, test))
        return cls(network, known, others, test.names, seen)


@torch.no_grad()
def levels(inputs: Inputs, settings: CloudFigureSettings) -> Drawn:
    """The Gaussians of each level for one test object, and how likely its unseen points are under these."""
    own = Shown.read(inputs, settings)
    tree = own.network(own.test[:1, : own.seen])
    values = [exact(level, own.test[:1, own.seen :]).mean().item() for level in tree.levels]
    mixtures = [level[0].mixture() for level in tree.levels]
    found = [
        {"gaussians": mixture.components, "log_likelihood": value}
        for mixture, value in zip(mixtures, values, strict=True)
    ]
    return {"object": own.names[0], "levels": found}, lambda path: draw_mixtures(mixtures, path)


@torch.no_grad()
def leaves(inputs: Inputs, settings: CloudFigureSettings) -> Drawn:
    """Test objects above clouds that are drawn for them, each point in the colour of its leaf, the same in all."""
    own = Shown.read(inputs, settings)
    points, count = own.test[: settings.objects], settings.objects
    tree = own.network(points[:, : own.seen])
    clouds, owner = with_redrawn(tree, points, torch.Generator().manual_seed(SEED))
    shades = list(group_colours(owner.numpy(), own.network.leaves))
    errors = chamfer(clouds[count:], points)
    found = [
        {"object": name, "leaves": len(row.unique()), "chamfer": error}
        for name, row, error in zip(own.names, owner[:count], errors.tolist(), strict=False)
    ]
    numbers = {"objects": found, "of": own.network.leaves}
    return numbers, lambda path: draw_clouds(list(clouds.numpy()), path, shades, columns=count)


@torch.no_grad()
def interpolations(inputs: Inputs, settings: CloudFigureSettings) -> Drawn:
    """Clouds on the line between the codes of two test objects, of two pairs, and how far they are from both ends."""
    own = Shown.read(inputs, settings)
    generator, count = torch.Generator().manual_seed(SEED), settings.objects
    rows, found = [], []
    for place in (0, 1):
        ends = [place, len(own.test) - 1 - place]
        way = own.network.between(own.test[ends], count, generator, points=own.test.shape[1])
        apart = [chamfer(way, own.test[[end]].expand_as(way)).tolist() for end in ends]
        found.append({"objects": [own.names[end] for end in ends], "chamfer": apart})
        rows.append(way)
    clouds = list(torch.cat(rows).numpy())
    return {"interpolations": found}, lambda path: draw_clouds(clouds, path, columns=count)


@torch.no_grad()
def samples(inputs: Inputs, settings: CloudFigureSettings) -> Drawn:
    """Samples above the nearest training objects, and how far these are, beside those of test objects."""
    own = Shown.read(inputs, settings)
    drawn = own.network.sample(settings.objects, torch.Generator().manual_seed(SEED), points=own.test.shape[1])
    known = Clouds(own.train)
    distances, nearest = Pairs(Clouds(drawn), known, CHAMFER).nearest()
    of_test, _ = Pairs(Clouds(own.test), known, CHAMFER).nearest()
    clouds = list(torch.cat([drawn, own.train[torch.from_numpy(nearest)]]).numpy())
    found = {"to_training": distances.tolist(), "test_to_training": float(np.median(of_test))}
    return found, lambda path: draw_clouds(clouds, path, columns=settings.objects)


@torch.no_grad()
def parts(inputs: Inputs, settings: CloudFigureSettings) -> Drawn:
    """Synthetic chairs in the colours of their parts, and below in those of the parts that their leaves stand for."""
    own = Shown.read(inputs, settings)
    clouds, known = make_chairs(CHAIRS, own.seen)
    found = owners(own.network, clouds)
    said = majority(found.flatten(), known.flatten())[found]
    count = settings.objects
    shades = group_colours(torch.cat([known[:count], said[:count]]).numpy(), len(PARTS))
    shown = list(clouds[:count].numpy()) * 2
    numbers = {"purity": purity(found.flatten(), known.flatten()), "chairs": CHAIRS, "parts": PARTS}
    return numbers, lambda path: draw_clouds(shown, path, list(shades), columns=count)
