"""The list of stages, the command line, the commands, the rules and the profile of the cluster name the same."""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil
import re
from pathlib import Path, PurePosixPath

import pytest
import yaml

from gmcn import cli, commands, config, models
from gmcn.stages import MEASURES, OTHERS, STAGES, measures_of
from gmcn.stages.options import DEVICE
from gmcn.stages.paths import PATHS, fields_of
from tests.conftest import ROOT

RULES = "\n".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
BODIES = {
    found[1]: found[0]
    for found in re.finditer(r"^(?:use rule \w+ as|rule) (\w+)(?:.*\n(?:(?:    .*)?\n)*)", RULES, re.M)
}
PARSERS = next(
    action.choices for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction)
)  # fmt: skip
PROFILE = yaml.safe_load((ROOT / "workflow/profiles/slurm/profile.yaml").read_text())


def test_the_command_line_has_the_stages_and_the_other_commands():
    assert list(PARSERS) == [*STAGES, *OTHERS]


def test_every_command_has_a_function_and_every_function_a_command():
    known = {command.identifier: command for command in (*STAGES.values(), *OTHERS.values())}
    functions = {name: commands.function_of(command) for name, command in known.items()}
    assert all(list(inspect.signature(function).parameters) == ["context"] for function in functions.values())
    defined = {
        function
        for found in pkgutil.iter_modules(commands.__path__, "gmcn.commands.")
        for function in vars(importlib.import_module(found.name)).values()
        if inspect.isfunction(function) and list(inspect.signature(function).parameters) == ["context"]
    }
    calling = {stage.identifier for stage in STAGES.values() if stage.calls}
    own = {function for name, function in functions.items() if name not in calling}
    assert {function for function in defined if not function.__name__.startswith("_")} == own


@pytest.mark.parametrize("stage", [stage for stage in STAGES.values() if stage.calls], ids=lambda stage: stage.name)
def test_what_a_stage_calls_is_a_function_in_its_sources(stage):
    module, _, name = stage.calls.partition(":")
    function = getattr(importlib.import_module(module), name)
    assert Path(inspect.getfile(inspect.unwrap(function))) in stage.files(ROOT)


def test_every_stage_has_a_rule_and_every_rule_that_calls_a_command_a_stage():
    with_log = {name for name, body in BODIES.items() if "    log:" in body}
    assert with_log == {stage.identifier for stage in STAGES.values()}
    for stage in STAGES.values():
        assert f'log_of("{stage.name}")' in BODIES[stage.identifier]
        assert all(f"use rule {stage.identifier} as {rule} with" in RULES for rule in stage.variations)
        assert not stage.sources or f'src=sources("{stage.name}")' in BODIES[stage.identifier]
        assert f'path("{stage.makes}")' in BODIES[stage.identifier] or stage.name == "train"


def test_rules_give_options_that_their_command_has():
    for stage in STAGES.values():
        asked = set(re.findall(r" (--[a-z-]+)[ \"]", BODIES[stage.identifier])) - {"--results", "--tracking"}
        spelt = {name for option in stage.all_options for name in (option.name, *option.also)}
        assert asked <= spelt, stage.name


def test_the_cluster_s_profile_gives_a_gpu_to_the_stages_that_can_use_one():
    gpus = {name for name, own in PROFILE["set-resources"].items() if own["slurm_partition"] == "gpu"}
    using = [stage for stage in STAGES.values() if DEVICE in stage.options]
    assert gpus == {rule for stage in using for rule in stage.rules} | {"summarise"}  # in one job with them
    assert {name for name, body in BODIES.items() if "gpu=" in body} == {stage.identifier for stage in using}
    grouped = (STAGES["evaluate"], STAGES["summarise"], *MEASURES)
    assert set(PROFILE["groups"]) == {rule for stage in grouped for rule in stage.rules}


def test_patterns_and_options_fit_together():
    for stage in STAGES.values():
        fields = set(re.findall(r"{(\w+)}", PATHS[stage.makes] + stage.job))
        given = {option.name.removeprefix("--") for option in stage.options} | {"table", "figure"}
        assert fields <= given, stage.name
    assert all(f"--{stage.makes}" in PARSERS["summarise"].format_help() for stage in MEASURES)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("points/my.scans.safetensors", {"dataset": "my.scans"}),
        ("datasets/mnist/t10k_images.gz", {"dataset": "mnist", "file": "t10k_images.gz"}),
        ("mixtures/digits_k1.5.json", {"dataset": "digits", "fit": "k1.5"}),
        ("runs/digits_v1.5/seed12/history.csv", {"dataset": "digits", "variant": "v1.5", "seed": "12"}),
        ("runs/digits_v1.5/rmse.json", {"dataset": "digits", "variant": "v1.5"}),
        ("tables/table9.v2.md", {"table": "table9.v2"}),
        ("figures/digits_fits.svg", {"dataset": "digits"}),
        ("figures/figure2.svg", {"figure": "figure2"}),
        ("tables/a/b.md", None),
    ],
)
def test_a_path_tells_of_what_it_is(path, fields):
    assert fields_of(PurePosixPath(path)) == fields


def test_another_spelling_of_an_option_means_the_same():
    for spelling in ("--input", "--mixtures"):
        arguments = ["train", "--dataset", "digits", "--variant", "smoke", spelling, "m.safetensors"]
        assert cli.parser().parse_args(arguments).input == "m.safetensors"


def test_names_of_networks_and_tasks_are_those_of_the_library():
    assert {kind for stage in MEASURES for kind in stage.networks or ()} <= set(models.NETWORKS)
    assert {made for kind in models.NETWORKS for made in measures_of(kind)} == {stage.makes for stage in MEASURES}
    assert measures_of(models.DEFAULT_KIND) == ["rmse", "footprint"]
    assert measures_of("gm-mlp") == ["dynamics", "footprint"]
    assert config.resolving.DEFAULT_KIND == models.DEFAULT_KIND
    assert measures_of("gmm") == ["samples", "footprint"]
    assert "rmse" not in measures_of("pointnet")
