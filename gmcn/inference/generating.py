"""Draws new objects from a network that can, for the command `generate`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gmcn import tasks
from gmcn.artifacts import read_metadata
from gmcn.data.containers import content_of
from gmcn.data.objects import POINTS, stack
from gmcn.data.pictures import IMAGES, parse_image, scale
from gmcn.device import own_defaults, select_device
from gmcn.errors import InputError, extras, foreign, unknown
from gmcn.inference.predicting import files_in, objects_in, raise_error, reader_of
from gmcn.inference.reading import Reader
from gmcn.models import Density, Generative
from gmcn.models.loading import load, model_path
from gmcn.progress import Progress

BATCH = 100  # bounds memory; of the same seed, another number draws other samples
MAX_NUMBERS = 1 << 30  # of all samples together: 4 GiB
STEPS = 8  # between two objects
SIDES = ("left", "right", "top", "bottom")


@dataclass(frozen=True)
class Generated:
    """Samples of a network, the first objects' first."""

    samples: Tensor  # [count, *shape], of O objects [O count, *shape], float32 in the units of the data, not clipped
    objects: Tensor | None  # [O, *shape] that they are like
    names: list[str]  # of the O objects
    largest: float  # the value that is white in a picture
    is_clouds: bool = False  # whether samples are clouds [M, 3], not images
    data: Mapping[str, Any] = field(default_factory=dict)  # settings of the objects that the network knows


@own_defaults()
@torch.no_grad()
@extras()
def generate(
    model: str | os.PathLike,
    count: int | None = None,
    seed: int = 0,
    *,
    like: str | os.PathLike | Iterable[str | os.PathLike] = (),
    keep: str | os.PathLike | None = None,
    class_name: str | None = None,
    top: int | None = None,
    divisor: float | None = None,
    sharpen: int | None = None,
    level: int | None = None,
    between: Sequence[str | os.PathLike] | None = None,
    points: int | None = None,
    flatten: bool = False,
    model_seed: int | None = None,
    resize: bool = False,
    invert: bool = False,
    drop_not_finite: bool = False,
    device: str = "auto",
) -> Generated:
    """Draw new objects from a trained density or generator of clouds, the same for the same seed.

    ``model`` is that of :func:`gmcn.load`, and ``model_seed`` chooses where it has several. ``like``, files as
    :func:`gmcn.predict` takes them, asks for ``count`` variants of each object there (default: one, else 100), with
    ``keep`` for the objects with their missing part drawn: ``left``, ``right``, ``top`` or ``bottom`` is kept, or what
    is bright in an image. ``class_name`` draws from components as often as training objects of this class belong to
    them. ``top``, ``divisor``, ``sharpen`` and, for variants, ``level`` are those of deep mixtures. Of clouds,
    ``between`` names two that the samples lie between, at equal steps (default: 8); ``points`` is how many a sample
    has (default: 1,024), and ``flatten`` puts them on surfaces. ``resize``, ``invert`` and
    ``drop_not_finite`` are those of :func:`gmcn.predict`.

    Raises :class:`gmcn.errors.InputError` for a network that draws nothing, files that cannot be used, and options
    that do not fit the network or each other.
    """
    like = [like] if isinstance(like, str | os.PathLike) else list(like)
    count = count if count is not None else 1 if like else STEPS if between else 100
    how = {"top": top, "divisor": divisor, "sharpen": sharpen, "level": level, "points": points}
    how = {name: value for name, value in how.items() if value is not None} | ({"flatten": True} if flatten else {})
    _check(count, seed, how)
    _check_together(like, between, class_name, keep, level)
    if not like and (resize or invert):
        raise InputError(f"{'resize' if resize else 'invert'} is for given images: give these with like")
    target = select_device(device)
    path = model_path(Path(model), model_seed)
    network, metadata = _generative(path, model_seed, target)
    clouds, generator = POINTS in network.takes, torch.Generator().manual_seed(seed)
    options = {"rescale": resize, "invert": invert, "drop_not_finite": drop_not_finite}
    data = (metadata.get("inputs") or {}).get("data") or {}
    if not like:
        if between is not None:
            reader = reader_of(path, metadata.get("inputs"), **options)
            parts = _on_the_way(network, reader, between, count, generator, how)
        else:
            weights = None if class_name is None else _weights(network, metadata, class_name, path)
            parts = _new(network, count, generator, weights, how)
        return Generated(_gathered(parts, count, path), None, [], network.largest, clouds, data)
    reader = reader_of(path, metadata.get("inputs"), **options)
    names, objects = _read(reader, like)
    mask = None if keep is None else _mask(keep, objects, resize=resize, clouds=clouds)
    parts = _variants(network, objects.to(target), count, generator, mask, how)
    samples = _gathered(parts, count * len(objects), path)
    return Generated(samples, objects.to(samples), names, network.largest, clouds, data)


def _check_together(
    like: Sequence[Any], between: Sequence[Any] | None, class_name: str | None, keep: Any, level: int | None
) -> None:
    if not like and (keep is not None or level is not None):
        raise InputError(f"{'level' if keep is None else 'keep'} is for variants of images: give these with like")
    if class_name is not None and like:
        raise InputError("a class is for new samples, and variants are those of given objects: leave out one of them")
    if between is not None and (like or class_name is not None or len(between) != 2):
        raise InputError("between takes two files, and goes with neither like nor a class")


def check_seed(seed: int) -> None:
    """Raise :class:`gmcn.errors.InputError` for a number that is no seed of torch."""
    if not 0 <= seed < 1 << 63:
        raise InputError(f"the seed is {seed}, but must be at least 0 and have at most 63 bits")


def _check(count: int, seed: int, how: Mapping[str, Any]) -> None:
    check_seed(seed)
    for name, value in {"count": count, **how}.items():
        least = 0 if name == "sharpen" else 1
        if name != "divisor" and value < least:
            raise InputError(f"{name} is {value}, but must be at least {least}")
    if "divisor" in how and not how["divisor"] > 0:
        raise InputError(f"the divisor of standard deviations is {how['divisor']}, but must be above 0")


def _generative(path: Path, seed: int | None, device: torch.device) -> tuple[Generative, Mapping[str, Any]]:
    network, metadata = load(path, seed=seed, device=device), read_metadata(path)
    if not isinstance(network, Generative):
        task = metadata.get("task", tasks.DEFAULT_TASK)
        raise InputError(
            f"{path} is a network for {task}, which has nothing to draw from; generate takes one of the task density "
            "or generation"
        )
    return network, metadata


def _weights(network: Generative, metadata: Mapping[str, Any], class_name: str, path: Path) -> Tensor:  # [N]
    """How often training objects of the class belong to each component, up to a factor."""
    if not isinstance(network, Density):
        raise InputError(f"{path} has no components that belong to classes; leave the class out")
    with foreign(f"{path} does not say well which classes its components have"):
        names, trained = metadata.get("class_names") or [], metadata.get("trained") or {}
        if class_name not in names:
            raise unknown("class", class_name, names)
        if "classes" not in trained:
            raise InputError(f"{path} does not say which classes its components have; train it again, with labels")
        classes, shares = (torch.tensor(trained[key], dtype=torch.float64) for key in ("classes", "shares"))
        place = names.index(class_name)
        weights = shares * classes[:, place] if place < classes.shape[1] else torch.zeros_like(shares)
        if weights.sum() == 0:
            raise InputError(f"{path} was trained on no object of the class '{class_name}'")
        return weights


def _new(
    network: Generative, count: int, generator: torch.Generator, weights: Tensor | None, how: dict[str, Any]
) -> Iterator[Tensor]:
    device, components = next(network.parameters()).device, None
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        if weights is not None:
            components = torch.multinomial(weights, size, replacement=True, generator=generator).to(device)
        yield network.sample(size, generator, components=components, **how)


def _on_the_way(
    network: Generative,
    reader: Reader,
    files: Sequence[str | os.PathLike],
    count: int,
    generator: torch.Generator,
    how: dict[str, Any],
) -> Iterator[Tensor]:
    _, ends = _read(reader, files)
    if len(ends) != 2:
        raise InputError(f"between takes two clouds, and these files hold {len(ends)}")
    yield network.between(ends.to(next(network.parameters()).device), count, generator, **how)


def _variants(
    network: Generative,
    objects: Tensor,  # [O, *shape]
    count: int,
    generator: torch.Generator,
    mask: Tensor | None,  # [*shape] bool
    how: dict[str, Any],
) -> Iterator[Tensor]:
    total = count * len(objects)
    for start in range(0, total, BATCH):
        places = torch.arange(start, min(start + BATCH, total), device=objects.device) // count
        if mask is None:
            yield network.like(objects[places], generator, **how)
        else:
            yield network.fill(objects[places], mask.to(objects.device), generator, **how)


def _gathered(parts: Iterator[Tensor], total: int, path: Path) -> Tensor:  # [total, *shape]
    """All samples in one tensor on the CPU."""
    samples: Tensor | None = None
    done = 0
    with Progress() if total > BATCH else contextlib.nullcontext() as bar, foreign(f"{path} cannot draw these samples"):
        task = bar.add_task("generate", total=total) if bar else None
        for part in parts:
            if samples is None:
                if total * part[0].numel() > MAX_NUMBERS:
                    raise InputError(
                        f"{total:,} samples of {part[0].numel():,} numbers take too much memory; ask for at most "
                        f"{MAX_NUMBERS // part[0].numel():,} at a time"
                    )
                samples = torch.empty(total, *part.shape[1:])
            samples[done : done + len(part)] = part.cpu()
            done += len(part)
            if bar and task is not None:
                bar.advance(task, len(part))
    assert samples is not None  # at least one was asked for
    if not samples.isfinite().all():
        raise InputError(f"a sample of {path} is not finite; train it again, with a lower training.learning_rate")
    return samples


def _read(reader: Reader, like: Sequence[str | os.PathLike]) -> tuple[list[str], Tensor]:
    found = list(objects_in(files_in(map(Path, like), reader, raise_error), reader, raise_error))
    names = [path.stem if name is None else str(name) for path, name, _ in found]
    with foreign("these objects are not all of one size"):
        return names, stack([each for *_, each in found]).float()


def _mask(
    keep: str | os.PathLike,
    objects: Tensor,  # [O, H, W]
    *,
    resize: bool,
    clouds: bool,
) -> Tensor:  # [H, W] bool
    """True where an image is kept."""
    if objects.ndim != 3 or clouds:
        kind = "clouds, which `gmcn complete` fills" if clouds else "vectors"
        raise InputError(f"keep is for images, and this network was trained on {kind}")
    height, width = objects.shape[1:]
    mask = np.zeros((height, width), dtype=bool)
    if str(keep) in SIDES:
        half = {"left": np.s_[:, : width // 2], "right": np.s_[:, width // 2 :]}
        half |= {"top": np.s_[: height // 2], "bottom": np.s_[height // 2 :]}
        mask[half[str(keep)]] = True
    else:
        path = Path(keep)
        if path.suffix.lower() not in IMAGES or not path.is_file():
            raise InputError(f"keep is '{keep}', but must be {', '.join(SIDES)} or an image ({', '.join(IMAGES)})")
        image = parse_image(content_of(path), str(path))
        if image.shape != mask.shape:
            if not resize:
                raise InputError(
                    f"{path} has {image.shape[1]} x {image.shape[0]} pixels, but the images have {width} x {height}; "
                    "crop it, or scale it with --resize"
                )
            image = scale(image, height, width)
        mask = image > image.max() / 2
    if mask.all() or not mask.any():
        raise InputError(f"{keep} keeps {'all' if mask.all() else 'nothing'} of the images; leave it out")
    return torch.from_numpy(mask)
