"""The stages that make tables and pictures of results; they are not tracked."""

from __future__ import annotations

from pathlib import Path

from gmcn import config as configuration
from gmcn.commands.context import Context
from gmcn.config import tables


def table(context: Context) -> None:
    from gmcn.results.tables import tabulate

    options = context.options
    shown = context.settings("table", options.name)
    if options.inputs is None:
        inputs = [path for file in tables.files_of(shown) if (path := context.results / file).is_file()]
    else:
        inputs = [Path(path) for path in options.inputs]
    output = context.path("output", f"tables/{shown['name']}")
    tabulate(shown, inputs=inputs, output=output, command=f"{options.maker} {context.results}")


def least_squares(context: Context) -> None:
    from gmcn.papers.gmcn.least_squares import measure

    output = context.path("output", tables.LEAST_SQUARES)
    measure(settings=context.settings("least-squares"), output=output, device=context.options.device)


def draw_fits(context: Context) -> None:
    from gmcn.pictures.fit_figures import draw_fits

    options, dataset = context.options, context.options.dataset
    settings = context.settings("draw-fits")
    mixtures = [Path(path) for path in options.mixtures or ()] or [
        context.results / f"mixtures/{dataset}_{fit}.safetensors" for fit in settings["fits"]
    ]
    draw_fits(
        settings=settings,
        points=context.path("points", f"points/{dataset}.safetensors"),
        mixtures=mixtures,
        output=context.path("output", f"figures/{dataset}_fits"),
    )


def draw_figure(context: Context) -> None:
    from gmcn.papers.gmcn.figures import draw

    options = context.options
    settings = context.settings("draw-figure")
    result = settings.get("result", "")
    model, mixtures = options.model, options.mixtures
    if result and not (model and mixtures):
        resolved = configuration.resolve(context.config, *result.split("_"))
        model = model or context.results / f"runs/{result}/seed{resolved['seeds'][0]}/model.safetensors"
        mixtures = mixtures or context.results / f"mixtures/{result.split('_')[0]}_{resolved['fit']}.safetensors"
    output = context.path("output", f"figures/{options.name}")
    draw(options.name, settings=settings, model=model, mixtures=mixtures, output=output)
