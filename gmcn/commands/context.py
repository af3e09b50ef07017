"""What a command was asked, and what follows from it: settings, paths, its tracking run."""

from __future__ import annotations

import argparse
import functools
import json
from pathlib import Path
from typing import Any

from gmcn import config as configuration
from gmcn import tracking
from gmcn.errors import InputError


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

    def path(self, option: str, default: str) -> Path:
        """A path that an option names, or its default below the results."""
        given = getattr(self.options, option)
        return Path(given) if given else self.results / default

    def run_folder(self) -> str:
        return f"runs/{self.options.dataset}_{self.options.variant}"

    def mixtures(self) -> Path:
        if self.options.mixtures:
            return Path(self.options.mixtures)
        fit = configuration.resolve(self.config, self.options.dataset, self.options.variant)["fit"]
        return self.results / f"mixtures/{self.options.dataset}_{fit}.safetensors"

    def per_seed(self, option: str, file: str) -> list[Path]:
        """The files of all seeds of the variant, unless the option names some."""
        given = getattr(self.options, option)
        if given:
            return [Path(path) for path in given]
        seeds = configuration.resolve(self.config, self.options.dataset, self.options.variant)["seeds"]
        return [self.results / self.run_folder() / f"seed{seed}" / file for seed in seeds]

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
