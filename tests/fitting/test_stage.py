"""The stage `fit` and its artifact."""

from __future__ import annotations

import pytest
import torch

from gmcn.artifacts import load_tensors, read_json, save_tensors
from gmcn.data import sample
from gmcn.data.objects import TRAIN, read_split
from gmcn.data.preparation import describe_inputs
from gmcn.errors import InputError
from gmcn.fitting import fit, fit_points
from gmcn.inference.reading import Reader
from gmcn.ops import evaluate
from gmcn.training.refitting import FreshFits
from tests.data.files import ply
from tests.data.test_splats import splats
from tests.ops.workload import random_mixture

SETTINGS = {
    "method": "kmeans",
    "components": 6,
    "iterations": 20,
    "em_steps": 1,
    "covariance_floor": 1e-3,
    "seed": 3,
}


class Run:
    id = "run-2"

    def __init__(self):
        self.metrics = {}

    def log_metrics(self, metrics, step=None):
        self.metrics |= metrics


def test_artifact(tmp_path, points):
    run, output = Run(), tmp_path / "mixtures.safetensors"
    fit(points, settings=SETTINGS, output=output, dataset="solids10", name="kmeans6", run=run)
    tensors, metadata = load_tensors(output)
    source, source_metadata = load_tensors(points)
    expected = fit_points(source["points"], 6, iterations=20, covariance_floor=1e-3, seed=3)
    for key, tensor in expected._asdict().items():
        assert torch.equal(tensors[key], tensor)
        assert tensors[key].dtype == torch.float32
    assert torch.equal(tensors["labels"], source["labels"])
    assert torch.equal(tensors["split"], source["split"])
    assert metadata["names"] == source_metadata["names"]
    assert metadata["class_names"] == source_metadata["class_names"]
    assert (metadata["dataset"], metadata["fit"], metadata["dim"]) == ("solids10", "kmeans6", 3)
    assert metadata["settings"] == SETTINGS
    assert metadata["run_id"] == "run-2"
    # The likelihood said is the mixtures', evaluated by the operations.
    density = evaluate(expected.to(torch.float64), source["points"].double()).log().mean(-1)
    quality = metadata["quality"]
    assert quality["log_likelihood_test"] == pytest.approx(density[source["split"] == 1].mean().item(), rel=1e-6)
    assert quality["log_likelihood_train"] == pytest.approx(density[source["split"] == 0].mean().item(), rel=1e-6)
    assert quality["empty_share"] == 0
    assert 0 < quality["floored_share"] < 1
    torch.testing.assert_close(tensors["log_likelihood"], density.float())
    assert read_json(output.with_suffix(".json"))["log_likelihood_test"] == quality["log_likelihood_test"]
    assert run.metrics["fit/log_likelihood_test"] == quality["log_likelihood_test"]


def test_mixtures_know_the_points_that_they_were_fitted_to(tmp_path, points):
    tensors, metadata = load_tensors(points)
    metadata["settings"] = {**metadata.get("settings", {}), "normalize": True}
    larger = tensors | {"points": 3 * tensors["points"]}
    paths = {name: tmp_path / f"{name}.safetensors" for name in ("own", "again", "larger", "mixtures")}
    save_tensors(paths["own"], tensors, metadata)
    save_tensors(paths["again"], tensors, metadata | {"provenance": "another machine"})
    save_tensors(paths["larger"], larger, metadata | {"settings": {**metadata["settings"], "normalize": False}})
    fit(paths["own"], settings=SETTINGS, output=paths["mixtures"], dataset="solids10", name="kmeans6")
    assert describe_inputs(paths["mixtures"], paths["own"])["data"]["normalize"]
    assert describe_inputs(paths["mixtures"], paths["again"])["fit"] == SETTINGS, "the same points, made again"
    with pytest.raises(InputError, match=r"are not the mixtures of .*larger.*: they are of other points; fit them"):
        describe_inputs(paths["mixtures"], paths["larger"])
    with pytest.raises(InputError, match=r"the mixtures are not the mixtures of .*larger"):
        FreshFits(read_split(paths["mixtures"], TRAIN), paths["larger"], None)
    described = describe_inputs(paths["mixtures"], paths["own"])
    assert len(list(Reader(described).read(paths["mixtures"]))) == len(tensors["split"])
    described["data"]["normalize"] = False
    with pytest.raises(InputError, match=r"was made with .*'normalize': True.*was trained with .*'normalize': False"):
        list(Reader(described).read(paths["mixtures"]))
    described["data"] |= {"normalize": True, "points": 5}
    with pytest.raises(InputError, match=r"was made with .*this network was trained with .*'points': 5"):
        list(Reader(described).read(paths["mixtures"]))


def test_shares_of_empty_and_floored_components(tmp_path):
    path, output = tmp_path / "p.safetensors", tmp_path / "m.safetensors"
    plane = torch.rand(1, 50, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 1.0, 0.0])
    point = torch.zeros(1, 50, 3)
    labels, split = torch.tensor([0, 0]), torch.tensor([0, 1], dtype=torch.uint8)
    save_tensors(
        path,
        {"points": torch.cat([plane, point]), "labels": labels, "split": split},
        {"class_names": ["a"], "names": ["plane", "point"]},
    )
    fit(path, settings={"components": 2}, output=output, dataset="d", name="f")
    quality = load_tensors(output)[1]["quality"]
    assert quality["empty_share"] == 0.25
    assert quality["floored_share"] == 0.75
    assert quality["degenerate_share"] == 0.25


def test_images(tmp_path):
    path, output = tmp_path / "digits.safetensors", tmp_path / "m.safetensors"
    sample("digits", settings={"kind": "digits"}, downloads=None, output=path)
    fit(path, settings={"components": 4, "method": "fps"}, output=output, dataset="digits", name="fps4")
    tensors, metadata = load_tensors(output)
    assert tensors["positions"].shape == (1797, 4, 2)
    assert metadata["dim"] == 2
    assert metadata["run_id"] is None


@pytest.mark.parametrize("method", ["kmeans", "random_em"])
def test_shards_change_nothing(tmp_path, points, method, monkeypatch):
    settings = {"components": 4, "method": method}
    fit(points, settings=settings, output=tmp_path / "whole", dataset="d", name="f")
    monkeypatch.setattr("gmcn.fitting.stage._SHARD", 700)  # seven clouds of 100 points
    fit(points, settings=settings, output=tmp_path / "parts", dataset="d", name="f")
    whole, parts = load_tensors(tmp_path / "whole")[0], load_tensors(tmp_path / "parts")[0]
    assert all(torch.equal(parts[key], tensor) for key, tensor in whole.items())


def test_ready_mixtures_are_reduced(tmp_path):
    path, output = tmp_path / "p.safetensors", tmp_path / "m.safetensors"
    mixture = random_mixture((3,), 300, 3, positive=True)
    mixture = mixture._replace(weights=mixture.weights * 1e-9)  # splats may be many and small
    labels, split = torch.zeros(3, dtype=torch.long), torch.tensor([0, 0, 1], dtype=torch.uint8)
    metadata = {"class_names": ["a"], "names": ["x", "y", "z"]}
    save_tensors(path, {**mixture._asdict(), "labels": labels, "split": split}, metadata)
    fit(path, settings={"components": 20, "method": "treehem"}, output=output, dataset="d", name="f")
    tensors, _ = load_tensors(output)
    assert tensors["weights"].shape == (3, 20)
    torch.testing.assert_close(tensors["weights"].sum(-1), mixture.weights.sum(-1))
    with pytest.raises(InputError, match="the data set has ready mixtures: reduce them by `method: treehem`"):
        fit(path, settings={"components": 20}, output=output, dataset="d", name="f")


def test_splats_become_inputs_of_a_network(tmp_path):
    """Files of 3D Gaussian splatting, sampled and reduced: what a network is trained on."""
    for part, count in (("train", 900), ("test", 700)):
        folder = tmp_path / "mine/cup" / part
        folder.mkdir(parents=True)
        (folder / "one.ply").write_bytes(ply(splats(count)))
    settings = {"kind": "splats", "path": str(tmp_path / "mine"), "normalize": True}
    path, output = tmp_path / "p.safetensors", tmp_path / "m.safetensors"
    sample("scans", settings=settings, downloads=None, output=path)
    fit(path, settings={"components": 32, "method": "treehem"}, output=output, dataset="scans", name="splats32")
    whole, reduced = load_tensors(path)[0], load_tensors(output)[0]
    assert reduced["weights"].shape == (2, 32)
    torch.testing.assert_close(reduced["weights"].sum(-1), torch.ones(2))
    mean, expected = ((t["weights"][..., None] * t["positions"]).sum(1) for t in (reduced, whole))
    torch.testing.assert_close(mean, expected, rtol=1e-3, atol=1e-4)
    assert len(read_split(output, 0)) == len(read_split(output, 1)) == 1


def test_a_bad_shape_is_called_by_its_name(tmp_path, points):
    tensors, metadata = load_tensors(points)
    tensors["points"][17, 3, 1] = float("inf")
    save_tensors(tmp_path / "bad", tensors, metadata)
    with pytest.raises(InputError, match=rf"bad: '{metadata['names'][17]}' has a coordinate"):
        fit(tmp_path / "bad", settings=SETTINGS, output=tmp_path / "m", dataset="d", name="f")


def test_errors(tmp_path, points):
    output = tmp_path / "m.safetensors"
    with pytest.raises(InputError, match=r"nowhere\.safetensors does not exist"):
        fit(tmp_path / "nowhere.safetensors", settings=SETTINGS, output=output, dataset="d", name="f")
    with pytest.raises(InputError, match="nothing to reduce by `method: treehem`"):
        fit(points, settings={"components": 6, "method": "treehem"}, output=output, dataset="d", name="f")
    with pytest.raises(InputError, match="fit 'f': unknown key 'component'; did you mean 'components'"):
        fit(points, settings={"component": 6}, output=output, dataset="d", name="f")
    tensors, metadata = load_tensors(points)
    empty = tmp_path / "empty.safetensors"
    save_tensors(empty, {**tensors, "points": tensors["points"][:, :0]}, metadata)
    with pytest.raises(InputError, match=r"empty\.safetensors: the clouds are empty"):
        fit(empty, settings=SETTINGS, output=output, dataset="d", name="f")
    assert not output.exists()
