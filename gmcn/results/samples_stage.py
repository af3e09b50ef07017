"""The stage `samples`: how what densities draw compares with training objects, beside what test objects reach."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gmcn.artifacts import write_json
from gmcn.data.objects import IMAGES, POINTS, TEST, TRAIN, ObjectSet, of_classes, read_split
from gmcn.declared import read
from gmcn.device import own_defaults, select_device
from gmcn.errors import InputError
from gmcn.models import Generative
from gmcn.progress import Progress
from gmcn.results.networks import TrainedNetwork, load_networks
from gmcn.results.origin import origin
from gmcn.results.sample_quality import Reference, nearest
from gmcn.results.sample_settings import SampleSettings
from gmcn.results.seeds import over_seeds
from gmcn.tracking import NO_RUN, Run

log = logging.getLogger(__name__)

PART = 1000  # samples at a time; bounds memory
HEADLINES = ("nna_chamfer", "nna_emd", "copies")  # of clouds
SHOWN = 20  # samples in the picture, beside their nearest training objects


@own_defaults()
def samples(
    artifact: str | os.PathLike,
    *,
    models: Sequence[str | os.PathLike],
    settings: Mapping[str, Any],
    output: str | os.PathLike,
    device: str = "auto",
    run: Run = NO_RUN,
) -> dict[str, Any]:
    """Compare samples of densities with the training objects of their classes; writes ``output``, and a picture beside.

    ``settings`` are those of :class:`SampleSettings`. Per seed the numbers of
    :meth:`gmcn.results.sample_quality.Reference.compare`; the same of ``test``, the test objects of the trained
    classes, and of ``missing``, those without the most frequent class (None where too few are left, or have no labels).
    Values are divided by the largest of a training object. ``samples.png`` shows the shares of all bins, and of images
    the first samples of the first seed above their nearest training objects. Of clouds the numbers are those of
    :func:`gmcn.results.cloud_samples.compare_clouds`.

    Raises :class:`gmcn.errors.InputError` for networks that are no densities, and options that they do not have.
    """
    own = read(SampleSettings, settings, "samples")
    device = select_device(device)
    everything = read_split(artifact, TRAIN)
    networks = load_networks(models, everything, device)
    for network in networks:
        _check_draws(network)
    trained = networks[0].metadata["settings"]["training"].get("classes")
    data, test = of_classes(everything, trained), of_classes(read_split(artifact, TEST), trained)
    if data.kind == POINTS:
        about = {**origin(artifact, everything, run), "classes": trained, "device": str(device)}
        return _of_clouds(networks, data, test, own, about, Path(output), run)
    largest = float(data.inputs.abs().max()) or 1.0
    train, reached = (_values(part.inputs, largest) for part in (data, test))
    with Progress() as bar:
        task = bar.add_task("samples", total=len(networks) + 2)
        reference = Reference(train, own.bins, own.seed)
        bar.advance(task)
        tested, missing = reference.compare(reached), _missing(reference, test, reached)
        bar.advance(task)
        seeds, shown = {}, None
        for network in networks:
            drawn = draw(network, own, largest)
            shown = drawn[:SHOWN] if shown is None else shown
            seeds[str(network.seed)] = {**reference.compare(drawn), "model": network.source}
            bar.advance(task)
    mean, deviation = over_seeds([{key: seed[key] for key in seed if key != "model"} for seed in seeds.values()])
    result = {
        **origin(artifact, everything, run),
        "settings": asdict(own),
        "classes": trained,
        "objects": {"train": len(data), "test": len(test), "samples": own.count},
        "bins": len(reference.bins.centres),
        "train": {"bins": (reference.bins.counts.double() / len(data)).tolist()},
        "test": tested,
        "missing": missing,
        "seeds": seeds,
        "mean": mean,
        "std": deviation,
        "device": str(device),
    }
    write_json(output, result)
    _report(result, run)
    if importlib.util.find_spec("matplotlib") is None:
        log.info("no picture of the samples: matplotlib is not installed")
        return result
    from gmcn.pictures.charts import draw_bins

    pairs = None
    if data.kind == IMAGES:
        pairs = torch.stack([shown, train[nearest(shown, train)[1]]]).unflatten(2, data.inputs.shape[1:]).numpy()
    shares = {"training objects": result["train"]["bins"], "test objects": tested["bins"], "samples": mean["bins"]}
    run.log_artifact(draw_bins(shares, pairs, Path(output).with_name("samples.png")))
    return result


def _of_clouds(
    networks: Sequence[TrainedNetwork],
    data: ObjectSet,
    test: ObjectSet,
    own: SampleSettings,
    about: Mapping[str, Any],
    output: Path,
    run: Run,
) -> dict[str, Any]:
    """Writes ``output`` and a picture, as :func:`samples`; ``about`` is what the result says besides."""
    from gmcn.results.cloud_samples import compare_clouds, draw_neighbours

    seeds = compare_clouds(networks, data, test, own)
    others = ("model", "sets", "classifier")
    numbers = [{key: value for key, value in one.items() if key not in others} for one in seeds.values()]
    mean, deviation = over_seeds(numbers)
    objects = {"train": len(data), "test": len(test), "samples": own.sets * len(test)}
    result = {**about, "settings": asdict(own), "objects": objects, "seeds": seeds, "mean": mean, "std": deviation}
    write_json(output, result)
    run.log_metrics({f"samples/{name}": value for name, value in mean.items() if value is not None})
    said = ["-" if mean[name] is None else f"{mean[name]:.3f}" for name in HEADLINES]
    log.info("samples: 1-NNA %s by Chamfer, %s by EMD, copies %s", *said)
    if importlib.util.find_spec("matplotlib") is None:
        log.info("no picture of the samples: matplotlib is not installed")
    else:
        run.log_artifact(draw_neighbours(networks[0], data, output.with_name("samples.png"), own))
    return result


def _check_draws(network: TrainedNetwork) -> None:
    if not isinstance(network.model, Generative):
        raise InputError(f"{network.source['path']} is no density, so it has no samples")


def draw(network: TrainedNetwork, settings: SampleSettings, largest: float) -> Tensor:  # [count, d]
    """Samples of a network, by random numbers of the CPU, in parts."""
    path = network.source["path"]
    _check_draws(network)
    generator = torch.Generator().manual_seed(settings.seed)
    sizes = torch.arange(settings.count).split(PART)
    parts = [network.model.sample(len(part), generator, **settings.how) for part in sizes]
    drawn = torch.cat([_values(part, largest) for part in parts])
    if not drawn.isfinite().all():
        raise InputError(f"samples of {path} are not finite; train the network again")
    return drawn


def _values(inputs: Tensor, largest: float) -> Tensor:  # [S, *shape] -> [S, d]
    return inputs.detach().flatten(1).float().cpu() / largest


def _missing(reference: Reference, test: ObjectSet, values: Tensor) -> dict[str, Any] | None:
    """What test objects reach when all of one class are lost, the most frequent."""
    if test.labels is None:
        return None
    lost = int(test.labels.bincount().argmax())
    kept = values[test.labels != lost]
    return {"class": test.class_names[lost], **reference.compare(kept)} if len(kept) > 1 else None


def _report(result: Mapping[str, Any], run: Run) -> None:
    mean, tested = result["mean"], result["test"]
    names = ("js", "ndb", "repeats", "spread")
    run.log_metrics({f"samples/{name}": mean[name] for name in names} | {f"samples/test_{n}": tested[n] for n in names})
    log.info(
        "samples: JS %.4f, %.0f of %d bins differ, repeats %.3f (test objects: %.4f, %d, %.3f)",
        *(mean["js"], mean["ndb"], result["bins"], mean["repeats"]),
        *(tested["js"], tested["ndb"], tested["repeats"]),
    )
