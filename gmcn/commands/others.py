"""Commands that are no stage: networks for other people's files, and what there is."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from gmcn import tracking
from gmcn.commands.context import Context


def show(context: Context) -> None:
    from gmcn.pictures.show import show

    options = context.options
    points = Path(options.points) if options.points else None
    chosen = {"index": options.index, "name": options.name, "points": points}
    chosen["drop_not_finite"] = options.drop_not_finite
    print(show(options.file, **chosen, output=options.output, up=options.up))


def predict(context: Context) -> None:
    from gmcn.commands import inference

    inference.predict_files(context.options)


def generate(context: Context) -> None:
    from gmcn.commands import inference

    inference.generate_objects(context.options)


def complete(context: Context) -> None:
    from gmcn.commands import inference

    inference.complete_cloud(context.options)


def register(context: Context) -> None:
    from gmcn.commands import inference

    inference.register_shapes(context.options)


def export(context: Context) -> None:
    from gmcn.commands import inference

    inference.export_result(context.options)


def store(context: Context) -> None:
    if context.tracked:
        tracking.create_store(context.results)


def info(context: Context) -> None:
    import gmcn

    print(json.dumps(gmcn.info(), indent=2, default=str))


def status(context: Context) -> None:
    from gmcn.status import show, status

    options = context.options
    targets = options.targets
    more = [path for path in options.config or () if Path(path) != Path("config.yaml")]  # which Snakemake reads itself
    overlays = ["--configfile", *more] if more else []
    overlays += ["--config", f"results={options.results}"] if options.results else []
    jobs = status(context.config, targets, results=context.results, arguments=overlays)
    if options.json:
        print(json.dumps(jobs, indent=2))
        return
    show(jobs, shlex.join(["snakemake", "--cores", "all", *targets, *overlays]))
