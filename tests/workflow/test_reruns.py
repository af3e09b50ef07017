"""A change reruns what depends on it, and nothing else."""

from __future__ import annotations

import shutil

import pytest

from tests.workflow.conftest import Checkout

AFTER_TRAINING = {"evaluate": 1, "probe": 1, "footprint": 1, "summarise": 1}
# Two variants on one fit, the second changed by the tests.
VARIANTS = """
variants:
  other: {{base: smoke, seeds: [0, 1]{other}}}
tables:
  solids10:
    title: Solids
    dataset: solids10
    columns: [accuracy]
    rows: [{{variant: smoke}}, {{variant: other}}, {{rival: ntk}}]
tracking: {{enabled: {tracking}}}
fits: {{kmeans16: {{components: {components}}}}}
"""
TARGETS = (
    "results/solids10_smoke.json",
    "results/solids10_other.json",
    "results/rivals/solids10_ntk.json",
    "results/tables/solids10.md",
)


def settings(other: str = "", components: int = 16, tracking: str = "true") -> str:
    return VARIANTS.format(other=other, components=components, tracking=tracking)


def files() -> list[str]:
    made = ["points/solids10.safetensors", "mixtures/solids10_kmeans16.safetensors"]
    for variant, seeds in (("smoke", (0,)), ("other", (0, 1))):
        folder = f"runs/solids10_{variant}"
        for seed in seeds:
            made += [f"{folder}/seed{seed}/{name}" for name in ("model.safetensors", "history.csv", "training.json")]
        made += [
            f"{folder}/{name}"
            for name in (
                "evaluation.json",
                "confusion.png",
                "mistakes.png",
                "curves.png",
                "rmse.json",
                "footprint.json",
            )
        ]
        made.append(f"solids10_{variant}.json")
    made.append("rivals/solids10_ntk.json")
    made += [f"tables/solids10.{form}" for form in ("md", "csv", "tex")]
    return [f"results/{name}" for name in made]


@pytest.fixture(scope="module")
def finished(pristine, tmp_path_factory):
    """A checkout in which everything has been made."""
    folder = tmp_path_factory.mktemp("finished") / "checkout"
    shutil.copytree(pristine.folder, folder, symlinks=True)
    checkout = Checkout(folder)
    checkout.pretend(*TARGETS, files=files(), config=settings())
    return checkout


def test_nothing_is_to_be_done_twice(finished):
    assert finished.plan(*TARGETS, config=settings()) == {}


def test_a_learning_rate_reruns_its_variants_training_and_what_follows(finished):
    changed = settings(other=", training: {learning_rate: 2.0e-3}")
    assert finished.plan(*TARGETS, config=changed) == {"train": 2, **AFTER_TRAINING, "table": 1}


def test_the_components_of_a_fit_rerun_it_and_what_follows(finished):
    twice = dict.fromkeys(AFTER_TRAINING, 2)
    assert finished.plan(*TARGETS, config=settings(components=8)) == {"fit": 1, "train": 3, **twice, "table": 1}


def test_the_probe_s_settings_rerun_the_probe_alone(finished):
    changed = settings(other=", probe: {positions: 300}")
    assert finished.plan(*TARGETS, config=changed) == {"probe": 1, "summarise": 1, "table": 1}


def test_one_more_seed_trains_that_seed_only(finished):
    changed = settings().replace("[0, 1]", "[0, 1, 2]")
    assert finished.plan(*TARGETS, config=changed) == {"train": 1, **AFTER_TRAINING, "table": 1}


def test_how_a_stage_is_run_reruns_nothing(finished):
    changed = settings(tracking="false")
    assert finished.plan(*TARGETS, config=changed) == {}


def test_a_deleted_table_is_remade_alone(finished):
    table = finished.folder / "results/tables/solids10.md"
    content = table.read_text()
    table.unlink()
    try:
        assert finished.plan(*TARGETS, config=settings()) == {"table": 1}
    finally:
        table.write_text(content)


def test_a_table_is_made_again_when_one_more_of_its_results_is_there(finished):
    result = finished.folder / "results/solids10_other.json"
    table = "results/tables/solids10.md"
    hidden = result.rename(result.with_suffix(".hidden"))
    try:
        assert finished.plan(table, config=settings()) == {"table": 1}
    finally:
        hidden.rename(result)
    assert finished.plan(table, config=settings()) == {}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("gmcn/results/probing.py", {"probe": 2, "summarise": 2, "table": 1}),
        ("gmcn/results/rivals.py", {"rival": 1, "table": 1}),
        ("gmcn/results/kernels.py", {"rival": 1, "table": 1}),
        ("gmcn/pictures/charts.py", {"evaluate": 2, "rival": 1, "summarise": 2, "table": 1}),
        ("gmcn/results/measured_memory.py", {"footprint": 2, "summarise": 2, "table": 1}),
        ("gmcn/results/tables.py", {"table": 1}),
        ("gmcn/pictures/still.py", {"evaluate": 2, "summarise": 2, "table": 1}),
        ("gmcn/data/augmentation.py", {"train": 3, **dict.fromkeys(AFTER_TRAINING, 2), "rival": 1, "table": 1}),
        ("gmcn/tasks/classification/measures.py", {"evaluate": 2, "summarise": 2, "table": 1}),
        (
            "gmcn/tasks/classification/measures_of_answers.py",
            {"evaluate": 2, "rival": 1, "summarise": 2, "table": 1},
        ),
        ("gmcn/tasks/classification/objective.py", {"train": 3, **dict.fromkeys(AFTER_TRAINING, 2), "table": 1}),
        ("gmcn/models/loading.py", {}),
        ("gmcn/models/__init__.py", {}),
        ("gmcn/data/xyz.py", {}),
        ("gmcn/data/idx.py", {}),
        ("gmcn/models/pointnet2.py", {}),
        ("gmcn/models/point_sets.py", {}),
        ("gmcn/nn/gmm_layer.py", {}),
        ("gmcn/ops/poses.py", {"rival": 1, "table": 1}),
        ("csrc/inspect.cpp", {}),
        ("gmcn/tasks/metric.py", {}),
        ("gmcn/models/gmcn.py", {"train": 3, **dict.fromkeys(AFTER_TRAINING, 2), "table": 1}),
        ("gmcn/device.py", {}),
        ("gmcn/tracking/run.py", {}),
    ],
)
def test_an_edited_source_reruns_the_stage_it_belongs_to(finished, source, expected):
    path = finished.folder / source
    before = path.read_text()
    path.write_text(before + "\n# edited\n")
    try:
        assert finished.plan(*TARGETS, config=settings()) == expected
    finally:
        path.write_text(before)


def test_another_task_reruns_nothing_of_this_one(finished):
    folder = finished.folder / "gmcn/tasks/another"
    folder.mkdir()
    try:
        for name in ("__init__", "objective", "measures"):
            (folder / f"{name}.py").write_text('"""Of another task."""\n')
        assert finished.plan(*TARGETS, config=settings()) == {}
    finally:
        shutil.rmtree(folder)


def test_a_task_that_is_said_as_it_is_by_default_reruns_nothing(finished):
    assert finished.plan(*TARGETS, config=settings(other=", task: classification")) == {}


def test_a_folder_of_one_s_own_is_sampled_again_when_a_file_of_it_changes(pristine, tmp_path):
    shutil.copytree(pristine.folder, tmp_path / "checkout", symlinks=True)
    checkout = Checkout(tmp_path / "checkout")
    folder = tmp_path / "scans"
    for name in ("cup/train/1.off", "cup/test/2.off"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("OFF")
    mine = f"datasets: {{mine: {{kind: meshes, path: {folder}}}}}"
    target = "results/points/mine.safetensors"
    assert checkout.plan(target, config=mine) == {"sample": 1}  # and no download
    checkout.pretend(target, files=[target], config=mine)
    assert checkout.plan(target, config=mine) == {}
    # What the reader makes a bad object of, or does not follow twice, does not stop the workflow.
    (folder / "cup/train/gone.off").symlink_to(tmp_path / "nowhere.off")
    (folder / "cup/again").symlink_to(folder)
    assert checkout.plan(target, config=mine) == {}
    (folder / "cup/train/3.off").write_text("OFF")
    assert checkout.plan(target, config=mine) == {"sample": 1}
    (folder / "cup/train/a{b}.off").write_text("OFF")
    answer = checkout.snakemake("-n", targets=(target,), config=mine)
    assert answer.status != 0
    assert "a{b}.off has braces in its name; rename it" in answer.text
