"""The recipes of CONTRIBUTING.md: each is applied to a copy of the sources, and what it adds works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.workflow.conftest import Checkout, copied

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
RECIPES = dict(re.findall(r"^### Add (.+)\n((?:(?!^##).*\n)+)", TEXT, re.MULTILINE))
# What a recipe may touch, besides tests and the schema that is generated.
COSTS = {
    "an option of a network": ["config.yaml", "gmcn/models/mlp.py"],
    "a network": ["gmcn/models/__init__.py", "gmcn/models/linear.py"],
    "a metric": ["config.yaml", "gmcn/tasks/classification/measures_of_answers.py"],
    "a kind of data sets": ["gmcn/data/bars.py", "gmcn/data/sampling.py"],
    "a stage": ["gmcn/results/counting.py", "gmcn/stages/__init__.py", "workflow/rules/data.smk"],
    "a task": [f"gmcn/tasks/brightness/{name}.py" for name in ("__init__", "measures", "objective")],
}
VARIANT = """
from gmcn import config, models
loaded = config.load("config.yaml", "recipe.yaml")
network = config.resolve(loaded, "digits", "recipe")["network"]
assert network["kind"] == kind and network[option] == value, network
model = models.build(network, classes=10, shape=[8, 8])
assert models.describe(model)[option] == value
"""
DIGITS = """
import torch
from gmcn import config, data, models, tasks
from gmcn.data.objects import TEST, read_split
data.sample("digits", settings={"kind": "digits"}, downloads=None, output="points.safetensors")
digits = read_split("points.safetensors", TEST)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return copied(tmp_path)


def python(checkout: Checkout, *arguments: str) -> str:
    """What Python says in the copy."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=checkout.folder,
        env={**os.environ, "PYTHONPATH": str(checkout.folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def follow(checkout: Checkout, name: str) -> Checkout:
    """Do in the copy what a recipe says."""
    recipe = RECIPES[name]
    [diff] = re.findall(r"^```diff\n(.*?)^```", recipe, re.MULTILINE | re.DOTALL)
    # Git would take a folder within a repository for a part of it.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(checkout.folder.parent)}
    options = {"cwd": checkout.folder, "env": environment, "input": diff, "capture_output": True, "text": True}
    done = subprocess.run(["git", "apply"], **options)
    assert done.returncode == 0, f"write the recipe for {name} anew: {done.stderr}"
    if "python -m gmcn.schema" in recipe:
        python(checkout, "-m", "gmcn.schema")
    return checkout


def test_every_recipe_is_tried():
    assert RECIPES.keys() == COSTS.keys()


@pytest.mark.parametrize("name", COSTS)
def test_what_a_recipe_costs(name):
    assert sorted(re.findall(r"^diff --git a/(\S+)", RECIPES[name], re.MULTILINE)) == COSTS[name]


def test_an_option_of_a_network(checkout):
    follow(checkout, "an option of a network")
    (checkout.folder / "recipe.yaml").write_text("variants: {recipe: {base: leaky}}")
    python(
        checkout,
        "-c",
        f"kind, option, value = 'mlp', 'slope', 0.1{VARIANT}assert model.layers[1].negative_slope == 0.1",
    )


def test_a_network(checkout):
    follow(checkout, "a network")
    (checkout.folder / "recipe.yaml").write_text(
        "variants: {recipe: {base: mlp, network: {kind: linear, bias: false}}}"
    )
    check = "import torch; assert model(torch.rand(3, 8, 8)).shape == (3, 10)"
    python(checkout, "-c", f"kind, option, value = 'linear', 'bias', False{VARIANT}{check}")


def test_a_metric(checkout):
    follow(checkout, "a metric")
    check = """
from gmcn.results.metrics import column
assert "top2_accuracy" in config.load("config.yaml")["tables"]["digits"]["columns"]
assert column("top2_accuracy").title == "class among the two likeliest (%)"
network = models.build({"kind": "mlp"}, seed=0, **digits.traits)
assert 0 < tasks.measures().measure(network, digits)["top2_accuracy"] < 1
"""
    python(checkout, "-c", f"{DIGITS}{check}")


def test_a_kind_of_data_sets(checkout):
    follow(checkout, "a kind of data sets")
    (checkout.folder / "recipe.yaml").write_text("datasets: {bars: {kind: bars, size: 6}}")
    files = ("--config", "config.yaml", "--config", "recipe.yaml")
    python(checkout, "-m", "gmcn", "sample", "--dataset", "bars", *files, "--output", "bars", "--tracking", "off")
    check = """
from gmcn.data.objects import TEST, read_split
bars = read_split("bars", TEST)
assert bars.inputs.shape == (24, 6, 6) and bars.labels.bincount().tolist() == [12, 12]
assert all((image == image[:, :1]).all() != label for image, label in zip(bars.inputs, bars.labels, strict=True))
"""
    python(checkout, "-c", check)


def test_a_stage(checkout):
    follow(checkout, "a stage")
    assert re.search(
        r"^ +count +count the objects of each class$", python(checkout, "-m", "gmcn", "--help"), re.MULTILINE
    )
    target = "results/counts/digits.json"
    assert checkout.plan(target) == {"sample": 1, "count": 1}
    python(checkout, "-c", DIGITS)
    options = ("--points", "points.safetensors", "--output", "counts.json", "--tracking", "off")
    python(checkout, "-m", "gmcn", "count", "--dataset", "digits", *options)
    assert '"0": 178' in (checkout.folder / "counts.json").read_text()


def test_a_task(checkout):
    follow(checkout, "a task")
    check = """
from gmcn.training import TrainingSettings
assert "brightness" in tasks.TASKS
objective = tasks.objective(TrainingSettings(), "brightness")
objective.check(digits)
network = models.build({"kind": "mlp"}, seed=0, **objective.traits(digits))
loss, _ = objective.loss(network, digits.inputs, None)
torch.testing.assert_close(loss, objective.measure(network, digits.inputs, None)["loss"].mean())
loss.backward()
measures = tasks.measures("brightness")
assert measures.measure(network, digits)["error"] > 0
assert len(measures.answer(network, digits.inputs, {})) == len(digits)
"""
    python(checkout, "-c", f"{DIGITS}{check}")
