"""The stages that make a result: each finds its settings and paths, opens its tracking run, calls its function."""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gmcn import config as configuration
from gmcn.addresses import ADDRESSES
from gmcn.commands.context import Context
from gmcn.errors import InputError
from gmcn.launching import HOW
from gmcn.running import claimed
from gmcn.stages import MEASURES, STAGES, Stage
from gmcn.stages.paths import PATHS

if TYPE_CHECKING:
    from gmcn.mixture import Mixture


def calling(stage: Stage) -> Callable[[Context], None]:
    """The command of a stage that only has to call its function.

    The function is given by name, as far as it has such parameters, ``settings``, ``device``, ``output`` and the
    artifacts that options of the stage name. With a parameter ``run`` it is tracked.
    """

    def command(context: Context) -> None:
        module, _, name = str(stage.calls).partition(":")
        function = getattr(importlib.import_module(module), name)
        takes = inspect.signature(function).parameters
        options = (option.name.removeprefix("--") for option in stage.options)
        inputs = {name: context.path(name) for name in options if name in takes and name in PATHS}
        given = {**inputs, "output": context.path("output", stage.makes)}
        if "settings" in takes:
            given["settings"] = context.settings(stage.name)
        if "device" in takes:
            given["device"] = context.options.device
        if "run" not in takes:
            function(**given)
            return
        with context.run(stage.name, given.get("settings", {}), list(inputs.items())) as run:
            function(**given, run=run)

    return command


def download(context: Context) -> None:
    from gmcn import data

    dataset, file = context.options.dataset, context.options.file
    settings = context.settings("download", file)
    known = json.loads(os.environ.get(ADDRESSES, "{}"))
    for entry in settings.get("files", ()):
        if address := known.get(f"{dataset}/{entry['name']}"):
            entry["url"] = address
    output = context.path("output", "downloads")
    with context.run("download", settings, [], name=f"download {file}" if file else "download") as run:
        data.download(dataset, settings=settings, output=output, run=run)


def sample(context: Context) -> None:
    from gmcn import data

    dataset = context.options.dataset
    settings = context.settings("sample")
    downloads = context.path("downloads")
    inputs = [(f"download.{index}", downloads / file["name"]) for index, file in enumerate(settings.get("files", ()))]
    with context.run("sample", settings, inputs) as run:
        data.sample(
            dataset,
            settings=settings,
            downloads=downloads,
            output=context.path("output", "points"),
            threads=context.options.threads or os.cpu_count() or 1,
            run=run,
        )


def fit(context: Context) -> None:
    from gmcn import fitting

    dataset, name = context.options.dataset, context.options.fit
    settings = context.settings("fit", name)
    points = context.path("points")
    output = context.path("output", "mixtures")
    inputs, by_network = [("points", points)], None
    if context.options.model or "variant" in settings:
        inputs.append(("model", model := _network_of_fit(context)))
        by_network = _fit_by(model)
    with context.run("fit", settings, inputs, name=f"fit {name}") as run:
        fitting.fit(
            points, settings=settings, output=output, dataset=dataset, name=name, by_network=by_network, run=run
        )
        if run.files is not None:
            from gmcn.commands.tracked import log_fit

            log_fit(run, points, output)


def _network_of_fit(context: Context) -> Path:
    """The network by which a fit makes its mixtures."""
    if context.options.model:
        return Path(context.options.model)
    own = configuration.network_of_fit(context.config, context.options.dataset, context.options.fit)
    assert own is not None  # its settings name a variant
    return context.place("model", variant=own["variant"], seed=own["seed"])


def _fit_by(path: Path) -> Callable[..., Mixture]:
    """The fit by a network, which sees as many points of a cloud as in its training."""
    from gmcn.artifacts import read_metadata
    from gmcn.fitting.gmm.by_network import fit_by_network
    from gmcn.models import PointGMM
    from gmcn.models.loading import load
    from gmcn.tasks.generation.measures import seen_points

    network = load(path)
    if not isinstance(network, PointGMM):
        raise InputError(f"{path} makes no mixtures of clouds; take a network `kind: pointgmm`")
    seen = seen_points(read_metadata(path))
    return functools.partial(fit_by_network, lambda points: network(points[:, :seen]).levels)


def rival(context: Context) -> None:
    from gmcn import results

    name = context.options.rival
    points = context.path("points")
    output = context.path("output", "rival")
    with context.run("rival", {"rival": name}, [("points", points)], name=f"rival {name}") as run:
        results.compare(points, rival=name, output=output, run=run)
        run.log_artifact(output)


def train(context: Context) -> None:
    options = context.options
    seeds = [options.seed]
    if options.seed is None:
        seeds = configuration.resolve(context.config, options.dataset, options.variant)["seeds"]
    for seed in seeds:
        _train(context, seed)


def _train(context: Context, seed: int) -> None:
    from gmcn import training
    from gmcn.artifacts import absent, key_of
    from gmcn.training.checkpoints import training_key

    options = context.options
    settings = context.settings("train", options.variant)
    how = {key: getattr(options, key) for key in HOW}
    how = {key: value for key, value in how.items() if value is not None}
    if options.settings is None:
        how = configuration.how_of(context.config, options.dataset, options.variant) | how
    data, points = context.input(), context.path("points")
    points = points if options.points or points.is_file() else None
    for path in (data, points):
        if path is not None and not path.is_file():
            raise absent(path)
    output = context.path("output", "seed", seed=seed)
    job_key = key_of("train", options.dataset, options.variant, training_key(data, settings, seed, points))
    resume = context.tracked and training.resumable(data, settings=settings, seed=seed, output=output, points=points)
    params = {**settings, "seed": seed}
    inputs = [(context.role(data), data)]
    with (
        claimed(output if options.rank == 0 else None),  # with or without --log: two would share its checkpoint
        context.run("train", params, inputs, name=f"train seed {seed}", job_key=job_key, resume=resume) as run,
    ):
        training.train(
            data,
            settings={**settings, "training": settings.get("training", {}) | how},
            seed=seed,
            output=output,
            points=points,
            device=options.device,
            threads=options.threads,
            run=run,
        )


def evaluate(context: Context) -> None:
    _analyse(context, "evaluate")


def probe(context: Context) -> None:
    _analyse(context, "probe")


def dynamics(context: Context) -> None:
    _analyse(context, "dynamics")


def samples(context: Context) -> None:
    _analyse(context, "samples")


def footprint(context: Context) -> None:
    _analyse(context, "footprint")


def _analyse(context: Context, stage: str) -> None:
    from gmcn import results

    options = context.options
    settings = context.settings(stage, options.variant)
    data = context.input()
    models = context.per_seed("models", "model")
    output = context.path("output", STAGES[stage].makes)
    inputs = [(context.role(data), data), *((f"model.{index}", model) for index, model in enumerate(models))]
    more = {}
    if stage == "evaluate" and "outliers" in settings:
        more["outliers"] = context.place("points", dataset=settings["outliers"])
    if stage == "evaluate" and "votes" in settings:
        more["points"] = context.path("points")
    with context.run(stage, settings, [*inputs, *more.items()]) as run:
        function = getattr(results, stage)
        function(data, models=models, settings=settings, output=output, device=options.device, run=run, **more)
        run.log_artifact(output)
        # Not when training ends: a stage that is interrupted is repeated, and this one takes seconds.
        if stage == "evaluate" and run.files is not None:
            from gmcn.commands.tracked import log_networks

            log_networks(run, models, data)


def summarise(context: Context) -> None:
    from gmcn import results
    from gmcn.training.checkpoints import remove_checkpoints

    options = context.options
    settings = context.settings("summarise", options.variant)
    points = context.path("points")
    data = context.input()
    training = context.per_seed("training", "training")
    measured = configuration.measured(settings)
    measures = {
        name: context.path(name)
        for name in (stage.makes for stage in MEASURES)
        if name in measured or getattr(options, name)
    }
    evaluation = context.path("evaluation")
    output = context.path("output", "result")
    inputs = {"points": points, context.role(data): data, "evaluation": evaluation, **measures}
    with context.run("summarise", settings, list(inputs.items())) as run:
        results.summarise(
            dataset=options.dataset,
            variant=options.variant,
            settings=settings,
            points=points,
            artifact=data,
            training=training,
            evaluation=evaluation,
            measures=measures,
            output=output,
            run=run,
        )
        run.log_artifact(output)
    for path in training:  # kept until now: a training that is killed at its very end loses its files, not this
        remove_checkpoints(path.parent)
