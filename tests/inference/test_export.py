"""Results become pretrained networks, which are found by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import gmcn
from gmcn import cli, tasks
from gmcn.artifacts import read_json, read_metadata, save_tensors, sha256, write_json
from gmcn.errors import InputError
from gmcn.inference import export
from gmcn.models import loading
from tests.conftest import ROOT


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty folder in the place of the package's pretrained networks."""
    monkeypatch.setattr(loading, "PRETRAINED", tmp_path / "pretrained")
    return tmp_path / "pretrained"


def test_an_exported_network_is_found_by_its_name(solids, home, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", str(solids.result), str(home / "shapes_tiny"), "--seed", "3"]) == 0
    assert re.search(r"shapes_tiny: seed 3, test accuracy 0\.\d{4}, [\d,]+ bytes", capsys.readouterr().out)
    for ours, theirs in zip(
        gmcn.load("shapes_tiny").state_dict().values(), gmcn.load(solids.result).state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)
    mesh = next(solids.folder.rglob("*.off"))
    assert gmcn.predict("shapes_tiny", mesh) == gmcn.predict(solids.result, mesh)
    assert cli.main(["names"]) == 0  # no config.yaml here, as beside an installed package
    title, row = capsys.readouterr().out.splitlines()
    assert title.split("  ")[0] == "pretrained network"
    assert row.split()[:2] == ["shapes_tiny", "shapes"]


def test_an_unknown_name_lists_the_known_ones(solids, home, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    export(solids.result, home / "shapes_tiny", seed=3)
    assert cli.main(["predict", "shape_tiny", "a.off"]) == 2
    sentence = "unknown pretrained network 'shape_tiny'; did you mean 'shapes_tiny'? (known: shapes_tiny)"
    assert capsys.readouterr().err == f"gmcn: error: {sentence}\n"
    with pytest.raises(InputError, match=re.escape(sentence)):
        gmcn.load("shape_tiny")


def test_the_card_says_where_the_network_comes_from(solids, tmp_path):
    card = export(solids.result, tmp_path / "shapes_tiny", seed=3)
    assert card == read_json(tmp_path / "shapes_tiny/model.json")
    summary, model = read_json(solids.result), tmp_path / "shapes_tiny/model.safetensors"
    assert card["name"] == "shapes_tiny"
    assert card["commands"] == [
        "snakemake --cores all results/shapes_tiny.json",
        "gmcn export results/shapes_tiny.json pretrained/shapes_tiny --seed 3",
    ]
    assert card["metrics"]["accuracy"] == summary["metrics"]["accuracy"]["seeds"]["3"]
    assert card["bytes"] == model.stat().st_size
    assert card["sha256"] == sha256(model)
    assert {"cpu", "cores", "gpu", "device"} == card["hardware"].keys()
    assert str(solids.folder) not in (tmp_path / "shapes_tiny/model.json").read_text()
    assert str(solids.folder).encode() not in model.read_bytes()


def test_the_seed_is_the_best_validated_or_the_one_asked_for(solids, tmp_path):
    summary = read_json(solids.result)
    for best in (3, 4):
        changed = summary | {
            "validation": {seed: {"accuracy": 0.6 if seed == str(best) else 0.5} for seed in ("3", "4")}
        }
        try:
            write_json(solids.result, changed)
            assert export(solids.result, tmp_path / "a")["seed"] == best
        finally:
            write_json(solids.result, summary)
    assert export(solids.result, tmp_path / "a", seed=4)["seed"] == 4
    with pytest.raises(InputError, match=r"has no seed 5 \(known: 3, 4\)"):
        export(solids.result, tmp_path / "a", seed=5)


def test_what_older_networks_do_not_say_is_read_from_the_artifacts(images, tmp_path):
    export(images.result, tmp_path / "marks")
    inputs = read_metadata(tmp_path / "marks/model.safetensors")["inputs"]
    assert inputs["data"] == {"kind": "images", "size": [8, 6]}
    assert inputs["fit"]["method"] == "kmeans"
    assert inputs["sha256"] == sha256(images.mixtures)


def test_how_clouds_were_sampled_is_added_but_never_changed(solids, images, tmp_path):
    card = export(images.result, tmp_path / "a", sampling="poisson")
    assert card["commands"][1].endswith("--seed 3 --sampling poisson")
    assert read_metadata(tmp_path / "a/model.safetensors")["inputs"]["data"]["sampling"] == "poisson"
    export(solids.result, tmp_path / "a", sampling="poisson")
    assert read_metadata(tmp_path / "a/model.safetensors")["inputs"]["data"]["sampling"] == "uniform"
    with pytest.raises(InputError, match="unknown sampling 'even'"):
        export(solids.result, tmp_path / "a", sampling="even")


def test_large_networks_are_refused_and_nothing_is_written(solids, tmp_path, monkeypatch):
    monkeypatch.setattr("gmcn.inference.exporting.MAX_BYTES", 4000)
    with pytest.raises(InputError, match=r"takes [\d,]+ bytes; a pretrained one may have 4,000"):
        export(solids.result, tmp_path / "large")
    assert not (tmp_path / "large").exists()


@pytest.mark.parametrize("what", ["no summary", "run folder", "missing model", "other model"])
def test_unfinished_results_are_refused(solids, tmp_path, what):
    summary, path = read_json(solids.result), tmp_path / "shapes_tiny.json"
    model = tmp_path / "runs/shapes_tiny/seed3/model.safetensors"
    sentence = "model.safetensors does not exist"
    if what == "no summary":
        write_json(path, {key: summary[key] for key in ("dataset", "models")})
        sentence = "shapes_tiny.json is no finished result: it lacks variant, metrics, "
    elif what == "run folder":
        path, sentence = solids.runs, "is no finished result"
    else:
        write_json(path, summary)
        if what == "other model":
            save_tensors(model, {"x": torch.zeros(1)}, read_metadata(solids.model))
            sentence = "is not what the result was measured with"
    with pytest.raises(InputError, match=sentence):
        export(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", loading.pretrained_names())
def test_the_pretrained_networks_of_the_repository(name):
    folder = loading.PRETRAINED / name
    card, metadata = read_json(folder / "model.json"), read_metadata(folder / "model.safetensors")
    assert card["name"] == name
    assert card["sha256"] == sha256(folder / "model.safetensors")
    assert card["bytes"] < 4e6
    assert not card["commit"].endswith("-dirty")
    headline = tasks.measures(card.get("task", "classification")).headline.name
    assert card["seed"] == min(map(int, card["metrics"][f"{headline}_over_seeds"]["seeds"]))
    assert {"data", "fit"} <= metadata["inputs"].keys() or metadata["fit"] is None
    assert not gmcn.load(name).training
    assert (ROOT / "pretrained" / name / "model.json").is_file()


def test_the_pretrained_network_of_digits_reads_digits(tmp_path):
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for index in range(40):
        Image.fromarray(digits.images[index].astype("uint8")).save(tmp_path / f"{index:02}.png")
    found = gmcn.predict("digits_treehem2", tmp_path)
    right = [int(prediction.class_name) == label for prediction, label in zip(found, digits.target, strict=False)]
    assert sum(right) >= 38
    assert Path(found[-1].file).name == "39.png"
