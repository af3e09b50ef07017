"""The options of a command, and the settings, paths and tracking run that follow from them."""

from __future__ import annotations

import argparse
import functools
import json
from pathlib import Path
from typing import Any

from gmcn import config as configuration
from gmcn import tracking
from gmcn.errors import InputError
from gmcn.stages.paths import PATHS, input_path


class Context:
    """The options of one command, with the configuration read only if something is asked of it."""

    def __init__(self, options: argparse.Namespace):
        self.options = options

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        return configuration.load(*(self.options.config or ["config.yaml"]))

    @functools.cached_property
    def results(self) -> Path:
        return Path(self.options.results or self.config.get("results", "results"))

    @functools.cached_property
    def tracked(self) -> bool:
        if getattr(self.options, "rank", 0):  # of several processes that train one network, the first tells
            return False
        if self.options.tracking is not None:
            return self.options.tracking == "on"
        return self.config.get("tracking", {}).get("enabled", True)

    def settings(self, stage: str, name: str | None = None) -> dict[str, Any]:
        """The stage's settings: those of ``--settings``, else those of the configuration."""
        if self.options.settings is None:
            return configuration.stage_settings(self.config, stage, getattr(self.options, "dataset", ""), name)
        try:
            settings = json.loads(self.options.settings)
        except json.JSONDecodeError as error:
            raise InputError(f"--settings is not readable JSON: {error}") from error
        if not isinstance(settings, dict):
            raise InputError("--settings must be a JSON object, as in '{\"epochs\": 1}'")
        return settings

    def path(self, option: str, artifact: str | None = None, **fields: Any) -> Path:
        """The path that an option names, or by default where ``artifact`` (default: of the option's name) lies.

        ``fields`` are those of the artifact's pattern that no option says.
        """
        given = getattr(self.options, option)
        return Path(given) if given else self.place(artifact or option, **fields)

    def place(self, artifact: str, **fields: Any) -> Path:
        """The path of an artifact below the results."""
        return self.results / PATHS[artifact].format(**{**vars(self.options), **fields})

    def input(self) -> Path:
        """The input of the variant's trainings."""
        if self.options.input:
            return Path(self.options.input)
        fit = configuration.resolve(self.config, self.options.dataset, self.options.variant)["fit"]
        return self.results / input_path(self.options.dataset, fit)

    def role(self, data: Path) -> str:
        """The role of :meth:`input` among the inputs of a tracking run."""
        return "points" if data.name == self.place("points").name else "mixtures"

    def per_seed(self, option: str, artifact: str) -> list[Path]:
        """The artifacts of all seeds of the variant, unless the option names some."""
        given = getattr(self.options, option)
        if given:
            return [Path(path) for path in given]
        seeds = configuration.resolve(self.config, self.options.dataset, self.options.variant)["seeds"]
        return [self.place(artifact, seed=seed) for seed in seeds]

    def run(self, stage: str, settings: dict[str, Any], inputs: list[tuple[str, Path]], **more: Any) -> Any:
        """The tracking run of this command."""
        dataset, variant = self.options.dataset, getattr(self.options, "variant", None)
        return tracking.start(
            stage,
            name=more.pop("name", stage),
            dataset=dataset,
            result=f"{dataset}_{variant}" if variant else None,
            params=settings,
            inputs=inputs,
            enabled=self.tracked,
            results=self.results,
            **more,
        )
