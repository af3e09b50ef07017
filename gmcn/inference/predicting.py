"""Classifies files by a trained network, for the command `predict`."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gmcn import tasks
from gmcn.artifacts import read_metadata
from gmcn.data.containers import list_files
from gmcn.data.objects import Inputs, each, shape_of, stack
from gmcn.device import own_defaults, select_device
from gmcn.errors import InputError, brief, extras, foreign
from gmcn.inference.outliers import Maps, threshold
from gmcn.inference.reading import ARTIFACT, Reader
from gmcn.inference.voting import varying
from gmcn.models import Network
from gmcn.models.loading import load, model_path
from gmcn.progress import Progress
from gmcn.tasks.task import Measures

_LOG = logging.getLogger(__name__)
MAX_COUNT = 1 << 22  # of points, components or pixels that a network may ask for
BATCH = 32  # bounds memory; every shape is classified by itself, so that it changes no result

Refuse = Callable[[InputError], None]


@dataclass(frozen=True)
class Prediction:
    """The answer of a network for one object."""

    file: str
    name: str | None  # of the object, in a file of several
    answer: dict[str, Any]  # by name: texts, numbers, or a mapping of names to numbers; the network's task says which

    @property
    def probabilities(self) -> dict[str, float]:
        """The probability of every class, in the network's order; they sum to one."""
        return self.answer["probabilities"]

    @property
    def class_name(self) -> str:
        """The most probable class."""
        return self.answer["class"]

    @property
    def probability(self) -> float:
        """The probability of the most probable class, not calibrated: trained networks are mostly too sure."""
        return self.answer["probability"]

    def top(self, count: int) -> list[tuple[str, float]]:
        """The most probable classes and their probabilities, the first first."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[:count]


@own_defaults()
@torch.no_grad()
@extras()
def predict(
    model: str | os.PathLike,
    paths: str | os.PathLike | Iterable[str | os.PathLike],
    *,
    seed: int | None = None,
    resize: bool = False,
    invert: bool = False,
    drop_not_finite: bool = False,
    inliers: float | None = None,
    maps: str | os.PathLike | None = None,
    votes: int | None = None,
    device: str = "auto",
    refuse: Refuse | None = None,
) -> list[Prediction]:
    """Classify files with a trained network; each is prepared as the network's data set was.

    ``model`` and ``seed`` are those of :func:`gmcn.load`. ``paths`` are meshes (.off .obj .ply .stl), clouds
    (.npy .npz .obj .ply .txt .xyz), grey images (.png .pgm .npy), splats (.ply), artifacts of the stages `sample` and
    `fit` (.safetensors), or folders, of which everything but artifacts is read. ``resize`` scales images to the size
    that the network was trained on; ``invert`` makes dark parts bright, as for ink on paper, of which the log
    warns without it; ``drop_not_finite`` leaves out points and splats with a value that is not finite. Predictions
    come in the order of the files, and none depends on another file.

    Of densities, ``inliers`` adds to each answer whether the object is an ``outlier``: less likely than this share of
    the training objects. ``maps``, a folder (with / at its end, or there already) or a .png, draws where in an image it
    is unlikely.

    With ``votes`` a classifier answers with the mean of its probabilities for so many variations of each object, as its
    training drew them; mixtures are fitted anew to points.

    A file that cannot be used raises :class:`gmcn.errors.InputError`, or is handed to ``refuse`` with what is wrong
    with it, and the others go on.
    """
    target = select_device(device)
    path = model_path(Path(model), seed)
    network, metadata = load(path, seed=seed, device=target), read_metadata(path)
    chosen: dict[str, Any] = {"invert": invert, "drop_not_finite": drop_not_finite}
    if votes is not None:
        chosen["vary"] = varying(path, metadata, votes)
    reader = reader_of(path, metadata.get("inputs"), rescale=resize, **chosen)
    measures = tasks.measures(metadata.get("task", tasks.DEFAULT_TASK))
    measures.check(network, metadata, path)
    limit = None if inliers is None else threshold(network, metadata, inliers, path)
    drawn = None if maps is None else Maps(os.fspath(maps), network, metadata, path)
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    refuse = refuse or raise_error
    files = files_in(map(Path, paths), reader, refuse)
    total = sum(map(reader.count, files))
    found: list[Prediction] = []
    # A bar only where there is something to wait for.
    with Progress() if total > BATCH else contextlib.nullcontext() as bar:
        task = bar.add_task("predict", total=total) if bar else None
        objects = objects_in(files, reader, refuse)
        while batch := list(itertools.islice(objects, BATCH)):
            for _, group in itertools.groupby(batch, lambda item: shape_of(item[2])):  # splats have any size
                alike = list(group)
                inputs = each(stack([inputs for *_, inputs in alike]), lambda tensor: tensor.to(target))
                if votes is not None:
                    inputs = each(inputs, lambda tensor: tensor.flatten(0, 1))
                found += _answer(network, alike, inputs, measures, metadata, limit, refuse, votes)
                if drawn:
                    drawn.add([path.stem if name is None else name for path, name, _ in alike], inputs)
            if bar:
                bar.advance(task, len(batch))
    if drawn:
        drawn.finish()
    if reader.paper:
        text = "%d of the images have a border brighter than their middle (%s%s), as dark ink on white paper; %s"
        advice = "the network may know bright on dark only, as MNIST is: "
        advice += "leave out --invert" if invert else "then make it so with --invert"
        _LOG.warning(text, len(reader.paper), reader.paper[0], " ..." if len(reader.paper) > 1 else "", advice)
    return found


def reader_of(path: Path, inputs: Any, **options: Any) -> Reader:
    """The reader of files for a network, if its file says how its inputs are prepared, and with bounds."""
    with foreign(f"{path} does not say well how its inputs were prepared"):
        if not {"data", "fit"} <= (inputs or {}).keys():
            raise InputError(
                f"{path} does not say how its inputs were prepared: it was trained without `--points`; "
                "make it a pretrained network with `gmcn export`"
            )
        data, fit = inputs["data"], inputs["fit"]
        size = data.get("size", [1, 1])
        counts = [*size, math.prod(size), data.get("points", 1), 1 if fit is None else fit["components"]]
        if len(size) != 2 or any(type(count) is not int or not 0 < count <= MAX_COUNT for count in counts):
            raise ValueError(f"its sizes are {str(counts)[:100]}, not numbers up to {MAX_COUNT:,}")
        return Reader(inputs, **options)


def _answer(
    network: Network,
    batch: Sequence[tuple[Path, str | None, Inputs]],
    inputs: Inputs,  # those of the batch together, by votes the variations of each
    measures: Measures,
    metadata: Mapping[str, Any],
    limit: float | None,
    refuse: Refuse,
    votes: int | None,
) -> Iterator[Prediction]:
    with foreign("the network cannot be applied to these objects"):
        answers = measures.answer(network, inputs, metadata, **({} if votes is None else {"votes": votes}))
    for (path, name, _), answer in zip(batch, answers, strict=True):
        if answer is None:
            what = path if name is None else f"'{brief(name)}' of {path}"
            refuse(InputError(f"the network's output for {what} is not finite; are its coordinates extreme?"))
            continue
        if limit is not None:
            answer["outlier"] = answer.get("typicality", answer["log_likelihood"]) < limit
        yield Prediction(str(path), name, answer)


def files_in(paths: Iterable[Path], reader: Reader, refuse: Refuse) -> list[Path]:
    """The files, and those in the folders that the network could take."""
    files = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        suffixes = [suffix for suffix in reader.suffixes if suffix != ARTIFACT]
        inside = [path / name for name in list_files(path) if Path(name).suffix.lower() in suffixes]
        if not inside:
            refuse(InputError(f"{path} holds nothing that this network takes ({', '.join(suffixes) or 'no folders'})"))
        files += inside
    return files


def objects_in(files: Sequence[Path], reader: Reader, refuse: Refuse) -> Iterator[tuple[Path, str | None, Inputs]]:
    """The objects of all files, each with its file, and with its name in a file of several."""
    for path in files:
        try:
            for name, inputs in reader.read(path):
                yield path, name, inputs
        except InputError as error:
            refuse(error)


def raise_error(error: InputError) -> None:
    """``refuse`` of callers that can do without no file."""
    raise error
