"""The stage `sample`: whatever a data set is made of becomes one points artifact."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from gmcn.artifacts import TensorWriter, provenance
from gmcn.data.cifar import read_cifar
from gmcn.data.clouds import read_clouds
from gmcn.data.containers import digest
from gmcn.data.digits import read_digits
from gmcn.data.idx import read_images
from gmcn.data.kinds import Cifar, Clouds, Digits, Images, Meshes, Solids, Splats
from gmcn.data.meshes import read_meshes
from gmcn.data.parallel import load_all
from gmcn.data.samples import DROPPED, PARTS, Samples, fault_of, normalize, places_of, stored
from gmcn.data.solids import make_solids
from gmcn.data.splats import read_splats
from gmcn.declared import Declaration
from gmcn.errors import InputError, brief, extras, unknown
from gmcn.progress import Progress
from gmcn.tracking import NO_RUN, Run


class Kind(NamedTuple):
    """A kind of data sets: what it can be told, and its reader.

    The reader is a function of the settings and of the files' paths, in the order of ``settings["files"]``, or the
    user's folder.
    """

    declaration: Declaration
    read: Callable[[dict[str, Any], list[Path]], Samples]


KINDS: dict[str, Kind] = {
    "digits": Kind(Digits, read_digits),
    "solids": Kind(Solids, make_solids),
    "images": Kind(Images, read_images),
    "cifar": Kind(Cifar, read_cifar),
    "clouds": Kind(Clouds, read_clouds),
    "meshes": Kind(Meshes, read_meshes),
    "splats": Kind(Splats, read_splats),
}
_LOG = logging.getLogger(__name__)
# So many bad objects are named in an error; all of them are counted.
_NAMED = 5


@extras()
def sample(
    dataset: str,
    *,
    settings: dict[str, Any],
    downloads: str | os.PathLike | None,
    output: str | os.PathLike,
    threads: int = 1,
    run: Run = NO_RUN,
) -> None:
    """Read, sample and normalise the data set and write the points artifact ``output``, one shape after the other.

    ``settings`` is the data set's entry of the configuration; ``downloads`` the folder that
    :func:`gmcn.data.download` filled (None for built-in sets and those with a ``path``). Points are float32
    [S, M, 3], with ``normalize: true`` centred and in the unit sphere; images are uint8 [S, H, W] (float32 of a user's
    own files), coloured ones vectors uint8 [S, C H W]; splats are mixtures: weights [S, N], positions [S, N, 3],
    covariances [S, N, 3, 3].
    ``threads`` is the number of processes that load shapes: the result does not depend on it. With more than one, a
    script that calls this function needs the usual ``if __name__ == "__main__":``.

    Raises:
        InputError: an unknown kind or class, a missing or malformed file; any object that cannot be used, all of them
            counted, unless ``bad_objects: skip`` leaves them out: then each is named in a warning and, with its
            reason, in the metadata's ``refused``.
    """
    kind = settings.get("kind")
    if kind not in KINDS:
        raise unknown(f"kind of data set '{dataset}'", str(kind), KINDS)
    files = _files(dataset, settings, downloads)
    started = time.perf_counter()
    samples = KINDS[kind].read(settings, files).with_printable_names()
    samples.check(", ".join(str(path) for path in files) or f"data set '{dataset}'")
    if (classes := settings.get("classes")) is not None:
        where = f"`classes` of data set '{dataset}'"
        samples = samples.of_classes(places_of(classes, samples.class_names, where))
    with TensorWriter(output) as writer:
        kept, refused, dropped = _write(dataset, samples, settings, threads, writer)
        split = samples.split[kept]
        for part in settings.get("parts", PARTS):
            if not (split == PARTS.index(part)).any():
                raise InputError(
                    f"data set '{dataset}' has no {part} object; if you only want to fit it and look at it, set "
                    f"`parts: [{PARTS[1 - PARTS.index(part)]}]`"
                )
        counts = {part: int((split == index).sum()) for index, part in enumerate(PARTS)} | {"refused": len(refused)}
        seconds = time.perf_counter() - started
        run.log_metrics({f"sample/{key}": value for key, value in {**counts, "seconds": seconds}.items()})
        writer.finish(
            {
                "dataset": dataset,
                "class_names": samples.class_names,
                **samples.about,
                "names": [samples.names[index] for index in kept],
                "refused": refused,
                "left_out": list(samples.left_out),
                "dropped": dropped,
                "settings": settings,
                "sources": {path.name: digest(path) for path in files},
                "provenance": provenance(),
                "run_id": run.id,
            }
        )
    text = "%s: %d objects for training, %d for the test, %d left out, in %.1f s"
    _LOG.info(text, dataset, *counts.values(), seconds)


def _write(
    dataset: str, samples: Samples, settings: dict[str, Any], threads: int, writer: TensorWriter
) -> tuple[list[int], dict[str, str], dict[str, int]]:
    """Append every usable shape; the indices of these, and by name the reason for each of the others.

    Last, also by name, how many rows that are not finite were left out of a shape, where there were some.
    """
    skip = settings.get("bad_objects", "stop") == "skip"
    kept: list[int] = []
    refused: dict[str, str] = {}
    dropped: dict[str, int] = {}
    size = None  # of all images, that of the first
    with Progress() as bar:
        rows = bar.track(load_all(samples, threads), len(samples.names), description=f"sample {dataset}")
        for index, row in enumerate(rows):
            rows_dropped = 0 if isinstance(row, InputError) else int(row.pop(DROPPED, 0))
            fault = str(row) if isinstance(row, InputError) else fault_of(row, size)
            if rows_dropped:
                dropped[samples.names[index]] = dropped.get(samples.names[index], 0) + rows_dropped
            if fault is None:
                if "points" in row and settings.get("normalize"):
                    row["points"] = normalize(row["points"])
                row = {name: stored(values) for name, values in row.items()}
                writer.append(row | {"labels": samples.labels[index], "split": samples.split[index]})
                kept.append(index)
                size = row["images"].shape if "images" in row else None
                continue
            name = samples.names[index]
            refused[name if name not in refused else f"{name} (object {index})"] = fault
            if skip:
                _LOG.warning("'%s' is left out: %s", brief(name), brief(fault, 400))
    if refused and not skip:
        named = [f"'{brief(name, 60)}' ({brief(fault, 280)})" for name, fault in list(refused.items())[:_NAMED]]
        more = ", ..." if len(refused) > _NAMED else ""
        raise InputError(
            f"{len(refused)} of {len(samples.names)} objects of data set '{dataset}' cannot be used: "
            f"{', '.join(named)}{more}; repair or remove them, or leave them out with `bad_objects: skip`"
        )
    if dropped:
        text = "%s: %d points or Gaussians of %d objects are not finite and are left out (%s ...)"
        _LOG.warning(text, dataset, sum(dropped.values()), len(dropped), brief(next(iter(dropped))))
    return kept, refused, dropped


def _files(dataset: str, settings: dict[str, Any], downloads: str | os.PathLike | None) -> list[Path]:
    if "path" in settings:
        path = Path(settings["path"]).expanduser()
        if not path.exists():
            raise InputError(f"{path} does not exist; correct the `path` of data set '{dataset}'")
        return [path]
    names = [entry["name"] for entry in settings.get("files", ())]
    if names and downloads is None:
        raise InputError(f"data set '{dataset}' is made of published files; download it first")
    paths = [Path(downloads) / name for name in names]
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path} does not exist; make it with `gmcn download --dataset {dataset}`")
    return paths
