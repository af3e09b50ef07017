"""The stages that make tables and pictures of results; they are not tracked."""

from __future__ import annotations

import shlex
from pathlib import Path

from gmcn import config as configuration
from gmcn.commands.context import Context
from gmcn.config import tables
from gmcn.stages.paths import input_path


def table(context: Context) -> None:
    from gmcn.results.tables import tabulate

    options = context.options
    shown = context.settings("table", options.name)
    if options.inputs is None:
        inputs = [path for file in tables.files_of(shown) if (path := context.results / file).is_file()]
    else:
        inputs = [Path(path) for path in options.inputs]
    output = context.path("output", "table", table=shown["name"])
    tabulate(shown, inputs=inputs, output=output, command=f"{options.maker} {shlex.quote(str(context.results))}")


def draw_fits(context: Context) -> None:
    from gmcn.pictures.fit_figures import draw_fits

    options = context.options
    settings = context.settings("draw-fits")
    mixtures = [Path(path) for path in options.mixtures or ()] or [
        context.place("mixtures", fit=fit) for fit in settings["fits"]
    ]
    draw_fits(
        settings=settings,
        points=context.path("points"),
        mixtures=mixtures,
        output=context.path("output", "fits"),
    )


def draw_figure(context: Context) -> None:
    from gmcn.papers.gmcn.figures import draw

    options = context.options
    settings = context.settings("draw-figure")
    result = settings.get("result", "")
    model, mixtures = options.model, options.mixtures
    if result and not (model and mixtures):
        dataset, variant = result.split("_")
        resolved = configuration.resolve(context.config, dataset, variant)
        model = model or context.place("model", dataset=dataset, variant=variant, seed=resolved["seeds"][0])
        mixtures = mixtures or context.results / input_path(dataset, resolved["fit"])
    output = context.path("output", "figure", figure=options.name)
    draw(options.name, settings=settings, model=model, mixtures=mixtures, output=output)


def draw_layers(context: Context) -> None:
    from gmcn.papers.gm_layers.figures import draw

    options = context.options
    settings = context.settings("draw-layers")
    points = options.points or context.place("points", dataset=configuration.measured_dataset({"gm_layers": settings}))
    output = context.path("output", "measured-figure", figure=options.name)
    draw(options.name, points=points, settings=settings, kernels=options.kernels or (), output=output)


def draw_results(context: Context) -> None:
    from gmcn.papers.comparisons import comparison, draw

    options = context.options
    figure = comparison(options.name)
    settings = context.settings("draw-results", options.name)
    if options.inputs is None:
        wanted = configuration.compared(context.config | {figure.section: settings}, figure)
        inputs = {name: context.place(artifact, **fields) for name, (artifact, fields) in wanted.items()}
    else:
        inputs = {name: Path(file) for name, _, file in (given.partition("=") for given in options.inputs)}
    output = context.path("output", "compared-figure", figure=options.name)
    draw(options.name, inputs=inputs, settings=settings, output=output)
