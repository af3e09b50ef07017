"""Every kind of network, from a data set to the one JSON of its result: what has no mixtures inside is not probed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import gmcn
from gmcn import tasks
from gmcn.artifacts import read_metadata
from gmcn.data import sample
from gmcn.data.objects import TEST, Inputs, ObjectSet, read_split
from gmcn.data.views import parted
from gmcn.errors import InputError
from gmcn.fitting import fit
from gmcn.inference import export
from gmcn.models import DEFAULT_KIND, NETWORKS
from gmcn.models.loading import MODEL
from gmcn.results import dynamics, evaluate, footprint, probe, samples, summarise
from gmcn.stages import measures_of
from gmcn.tasks.registration import measures_of_poses
from gmcn.training import train
from tests.results.test_summary import ResultRecorder

TRAINING = {"epochs": 1, "batch_size": 10, "early_batches": 3, "validation_fraction": 0.2, "checkpoint_minutes": 0}
SOLIDS = {"kind": "solids", "train_per_class": 3, "test_per_class": 1, "points": 80, "normalize": True}
DIGITS = {"kind": "digits", "test_fraction": 0.5}
DENSITY = {"task": "density", "training": TRAINING | {"classes": [0, 1, 2, 3, 4], "optimizer": "em", "epochs": 2}}
# A network, its data set, its fit, and what its variant says besides.
CASES = {
    "gmcn": ({"layers": [[2, 4]]}, SOLIDS, {"method": "kmeans", "components": 8}, {}),
    "pointnet": ({"kind": "pointnet"}, SOLIDS, {"method": "points", "components": 40, "covariance_floor": 1e-4}, {}),
    "pointnet on points": ({"kind": "pointnet"}, SOLIDS, None, {}),
    "pointnet2": (
        {"kind": "pointnet2", "features": "gaussians"},
        SOLIDS,
        {"method": "kmeans", "components": 16},
        {},
    ),
    "pointnet2 on points": ({"kind": "pointnet2"}, SOLIDS, None, {}),
    "mlp": ({"kind": "mlp", "hidden": [8]}, DIGITS, None, {}),
    "gm-mlp": ({"kind": "gm-mlp", "components": 3}, DIGITS, None, {}),
    "gmm": ({"kind": "gmm", "components": 4, "covariance": "low-rank", "largest": 16}, DIGITS, None, DENSITY),
    "dcgmm": (
        {"kind": "dcgmm", "layers": ["F4,2", "G4", "F3", "G4x1"], "largest": 16},
        DIGITS,
        None,
        {"task": "density", "training": TRAINING | {"optimizer": "sgd"}},
    ),
    "dcgmm by em": ({"kind": "dcgmm", "layers": ["F4,2", "G4", "F3", "G4"], "largest": 16}, DIGITS, None, DENSITY),
    "pointgmm": (
        {"kind": "pointgmm", "latent": 6, "width": 16, "splits": 1, "encoder": [8, 16], "prior": "mixture"},
        SOLIDS,
        None,
        {"task": "generation", "training": TRAINING | {"views": {"points": 40}}},
    ),
    "registration": (
        {"kind": "registration", "latent": 5, "pose": 6, "width": 16, "splits": 1, "encoder": [8, 16]},
        SOLIDS,
        None,
        {"task": "registration", "training": TRAINING | {"views": {"points": 40}}},
    ),
    "gmm by gradients": (
        {"kind": "gmm", "components": 4, "largest": 16},
        DIGITS,
        None,
        {"task": "density", "training": TRAINING},
    ),
}


def test_all_of_them_are_here():
    assert {network.get("kind", DEFAULT_KIND) for network, *_ in CASES.values()} == NETWORKS.keys()
    tried = {more.get("task", tasks.DEFAULT_TASK) for *_, more in CASES.values()}
    assert tried == set(tasks.TASKS), "networks of another task are to be tried here too"


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_memory_of_every_kind_is_measured(kind):
    assert "footprint" in measures_of(kind)


def recorder(stage: str) -> ResultRecorder:
    """The tracking run of a stage, which has an identity as those of MLflow have."""
    run = ResultRecorder()
    run.id = f"{stage}-run"
    return run


# Each is another way of a kind that is here too.
RARE = {"pointnet2 on points", "dcgmm by em", "gmm by gradients"}


@pytest.fixture(
    scope="module", params=[pytest.param(case, marks=[pytest.mark.slow] if case in RARE else []) for case in CASES]
)
def made(request, tmp_path_factory) -> SimpleNamespace:
    """The trained network of two seeds, and the paths of what it was made from."""
    network, data, fitting, more = CASES[request.param]
    folder = tmp_path_factory.mktemp("made")
    points = artifact = folder / "points.safetensors"
    sample("toy", settings=data, downloads=None, output=points)
    if fitting is not None:
        artifact = folder / "mixtures.safetensors"
        fit(points, settings=fitting, output=artifact, dataset="toy", name="mine")
    settings = {"network": network, "training": TRAINING, "fit": None if fitting is None else "mine", **more}
    runs = folder / "runs" / "toy_rival"
    for seed in (0, 1):
        options = {"device": "cpu", "threads": 1, "points": points}
        train(
            artifact, settings=settings, seed=seed, output=runs / f"seed{seed}", run=recorder(f"train{seed}"), **options
        )
    models = [runs / f"seed{seed}" / "model.safetensors" for seed in (0, 1)]
    kind = network.get("kind", DEFAULT_KIND)
    return SimpleNamespace(
        kind=kind, folder=folder, runs=runs, points=points, artifact=artifact, settings=settings, models=models
    )


def test_from_a_data_set_to_a_result(made, monkeypatch):
    monkeypatch.setattr(measures_of_poses, "DRAWS", 2)
    monkeypatch.setattr(measures_of_poses, "FEWER", 1)
    arguments = {"models": made.models, "device": "cpu"}
    runs = {stage: recorder(stage) for stage in ("evaluate", "footprint", "probe", "dynamics", "samples", "summarise")}
    task = {"task": made.settings.get("task", tasks.DEFAULT_TASK)}
    evaluation = made.runs / "evaluation.json"
    tested = evaluate(made.artifact, output=evaluation, settings=task, run=runs["evaluate"], **arguments)
    files: dict[str, Path] = {name: made.runs / f"{name}.json" for name in measures_of(made.kind)}
    measured = footprint(
        made.artifact, output=files["footprint"], settings=made.settings, run=runs["footprint"], **arguments
    )
    parameters = sum(p.numel() for p in gmcn.load(made.runs).parameters())
    kept = 1 if made.settings["training"].get("optimizer") == "em" else 4  # or gradients and Adam's two moments too
    assert measured["measured"]["bytes"] > 4 * kept * parameters
    if made.kind == DEFAULT_KIND:
        probing = {"positions": 50, "shapes": 2}
        probe(made.artifact, output=files["rmse"], settings=probing, run=runs["probe"], **arguments)
        assert measured["ratio"].keys() == {"unfused", "fused"}
    else:
        assert measured["theory"] == measured["paper"] == measured["ratio"] == {}
        assert {key for _, metrics in runs["footprint"].metrics for key in metrics} == {"memory/measured_bytes"}
        with pytest.raises(InputError, match=r"model\.safetensors has no mixtures inside, so it has no fitting errors"):
            probe(made.artifact, output=made.folder / "none.json", settings={}, **arguments)

    if "dynamics" in files:
        few, run = {"neurons": 50, "objects": 20}, runs["dynamics"]
        dynamics(made.artifact, output=files["dynamics"], settings=few, run=run, **arguments)

    if "samples" in files:
        few, run = {"count": 50, "bins": 5, "sets": 2, "emd_points": 20}, runs["samples"]
        samples(made.artifact, output=files["samples"], settings=few, run=run, **arguments)

    run, output = runs["summarise"], made.folder / "toy_rival.json"
    summarise(
        dataset="toy",
        variant="rival",
        settings=made.settings,
        points=made.points,
        artifact=made.artifact,
        training=[model.with_name("training.json") for model in made.models],
        evaluation=evaluation,
        measures=files,
        output=output,
        run=run,
    )
    result = json.loads(output.read_text())
    headline = result["headline"]
    assert result["metrics"][headline]["mean"] == tested["mean"][headline] == run.result["metrics"][headline]
    assert "memory_mib" in run.result["metrics"]
    stages = {"evaluate", "footprint", *(["probe"] if "rmse" in files else []), *files.keys() & {"dynamics", "samples"}}
    assert {stage: result["runs"][stage] for stage in stages} == {stage: f"{stage}-run" for stage in stages}
    assert result["runs"]["train"] == {"0": "train0-run", "1": "train1-run"}
    assert all(runs[stage].metrics for stage in stages)
    assert set(run.result["runs"]) == {
        "train0-run",
        "train1-run",
        "summarise-run",
        *(f"{stage}-run" for stage in stages),
    }
    assert result["parameters"] == parameters
    assert ("kernel_parameters" in result) == (made.kind == DEFAULT_KIND)
    assert result["measures"].keys() == files.keys()
    assert result["input"]["kind"] == read_split(made.artifact, TEST).kind
    test = read_split(made.artifact, TEST)
    with torch.no_grad():
        outputs = gmcn.load(output, seed=1)(shown(made, test))
    if task["task"] == "density":
        assert tested["seeds"]["1"]["log_likelihoods"] == pytest.approx(outputs.tolist(), rel=1e-5, abs=1e-3)
        outlying = {name: value["mean"] for name, value in result["metrics"].items()}["auc"]
        assert (outlying is None) == (made.settings["training"].get("classes") is None)
        card = export(output, made.folder / "exported")
        known = [
            read_metadata(model)["trained"] for model in (made.models[card["seed"]], made.folder / "exported" / MODEL)
        ]
        assert known[0] == known[1], "by which answers are judged"
    elif task["task"] == "generation":
        assert tested["seeds"]["1"]["log_likelihoods"] == pytest.approx(unseen(outputs, test.inputs), abs=1e-3)
        assert result["measures"]["samples"]["mean"]["nna_chamfer"] <= 1
    elif task["task"] == "registration":
        assert len(tested["seeds"]["1"]["degrees"]) == 2 * len(test)
    else:
        assert outputs.argmax(1).tolist() == tested["seeds"]["1"]["predictions"]


def shown(made: SimpleNamespace, test: ObjectSet) -> Inputs:
    """What the network is given of test objects."""
    views = made.settings["training"].get("views")
    if made.settings.get("task") == "generation":
        return parted(test.inputs, views["points"])[0]
    return test.inputs[:, : views["points"]] if views else test.inputs


def unseen(tree: gmcn.MixtureTree, points: torch.Tensor) -> list[float]:
    """The likelihood of the points that the network of a tree has not seen."""
    return tree.leaves().log_prob(parted(points, 40)[1]).mean(1).tolist()


def test_its_answer_about_the_artifact_is_that_of_the_evaluation(made):
    test = read_split(made.artifact, TEST)
    found = {entry.name: entry for entry in gmcn.predict(made.models[1], made.points, device="cpu")}
    with torch.no_grad():
        outputs = gmcn.load(made.models[1])(shown(made, test))
    if "task" in made.settings:
        answers = {name: found[name].answer for name in test.names}
        if made.settings["task"] == "generation":
            likely = [answer["log_likelihood"] for answer in answers.values()]
            assert likely == pytest.approx(unseen(outputs, test.inputs), abs=1e-3)
            return
        if made.settings["task"] == "registration":
            angles = outputs.poses.angles.rad2deg() % 360
            assert [answer["turn"] for answer in answers.values()] == pytest.approx(angles.tolist(), abs=1e-2)
            return
        assert [answer["log_likelihood"] for answer in answers.values()] == pytest.approx(outputs.tolist(), abs=1e-3)
        assert all(0 <= answer["less_likely"] <= 1 for answer in answers.values())
        return
    for name, row in zip(test.names, outputs.softmax(1), strict=True):
        answer = torch.tensor(list(found[name].probabilities.values()))
        torch.testing.assert_close(answer, row, atol=1e-4, rtol=0)
