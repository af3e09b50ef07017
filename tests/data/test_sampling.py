"""The stage `sample` and its artifact."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gmcn.artifacts import load_tensors
from gmcn.data import sample
from gmcn.data.samples import normalize
from gmcn.errors import InputError
from gmcn.tasks.classification.measures import Measures
from gmcn.tracking import NO_RUN


class Run:
    id = "run-1"

    def __init__(self):
        self.metrics = {}

    def log_metrics(self, metrics, step=None):
        self.metrics |= metrics


def make(tmp_path, name, settings, run=NO_RUN):
    path = tmp_path / f"{name}.safetensors"
    sample(name, settings=settings, downloads=None, output=path, run=run)
    return load_tensors(path)


def test_digits(tmp_path):
    run = Run()
    tensors, metadata = make(tmp_path, "digits", {"kind": "digits"}, run)
    assert tensors["images"].shape == (1797, 8, 8)
    assert tensors["images"].dtype == torch.uint8
    assert tensors["labels"].dtype == torch.int64
    assert tensors["split"].dtype == torch.uint8
    assert int(tensors["split"].sum()) == 450
    share = torch.stack([tensors["split"][tensors["labels"] == d].double().mean() for d in range(10)])
    assert (share - 0.25).abs().max() < 0.01
    assert metadata["class_names"] == [str(digit) for digit in range(10)]
    assert len(metadata["names"]) == 1797
    assert metadata["dataset"] == "digits"
    assert metadata["run_id"] == "run-1"
    assert run.metrics["sample/train"] == 1347


def test_digits_split_is_seeded(tmp_path):
    splits = [
        make(tmp_path, "digits", {"kind": "digits", "seed": seed, "test_fraction": 0.2})[0]["split"]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(splits[0], splits[1])
    assert not torch.equal(splits[0], splits[2])
    assert int(splits[2].sum()) == 360


def test_solids_are_repeatable_to_the_byte(tmp_path):
    settings = {
        "kind": "solids",
        "train_per_class": 2,
        "test_per_class": 1,
        "points": 40,
        "sampling": "poisson",
        "normalize": True,
    }
    first, metadata = make(tmp_path, "solids10", settings)
    again, _ = make(tmp_path, "solids10", settings)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert first["points"].shape == (30, 40, 3)
    assert first["points"].dtype == torch.float32
    assert metadata["settings"] == settings
    norms = first["points"].norm(dim=-1).amax(-1)
    assert torch.allclose(norms, torch.ones(30), atol=1e-6)


def test_objects_of_some_classes_alone(tmp_path):
    settings = {"kind": "solids", "train_per_class": 2, "test_per_class": 1, "points": 40}
    everything, about = make(tmp_path, "all", settings)
    tensors, metadata = make(tmp_path, "some", {**settings, "classes": ["tube", 1]})
    assert metadata["class_names"] == ["box", "tube"]
    assert tensors["labels"].tolist() == [0, 0, 0, 1, 1, 1]
    chosen = [index for index, label in enumerate(everything["labels"]) if int(label) in (1, 9)]
    assert torch.equal(tensors["points"], everything["points"][chosen])
    assert torch.equal(tensors["split"], everything["split"][chosen])
    assert metadata["names"] == [about["names"][index] for index in chosen]
    with pytest.raises(
        InputError, match=r"^`classes` of data set 'few': unknown class 'tub'; did you mean 'tube'.* pyramid, "
    ):
        make(tmp_path, "few", {**settings, "classes": ["tub"]})


@pytest.mark.parametrize("threads", [1, 2])
def test_bad_objects_of_other_classes_do_not_matter(meshes, tmp_path, threads):
    assert make(tmp_path, "digits", {"kind": "digits", "classes": ["3", 7]})[1]["class_names"] == ["3", "7"]
    for part in ("train", "test"):
        path = tmp_path / "mine" / "round" / part / "good.off"
        path.parent.mkdir(parents=True)
        path.write_text(GOOD)
    settings, output = {**meshes, "classes": ["round"]}, tmp_path / "x.safetensors"
    sample("mine", settings=settings, downloads=None, output=output, threads=threads)
    metadata = load_tensors(output)[1]
    assert (metadata["class_names"], metadata["names"], metadata["refused"]) == (["round"], ["good", "good"], {})


def test_normalize():
    points = np.random.default_rng(0).uniform(-1, 1, (3, 50, 3)) * [1, 5, 2] * 1e4 + 1e5
    points[2] = 7.0
    result = normalize(points.astype(np.float32))
    middle = (result.min(axis=1) + result.max(axis=1)) / 2
    np.testing.assert_allclose(middle, 0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(result, axis=-1).max(axis=1), [1, 1, 0], atol=1e-6)
    # A similarity: proportions stay.
    ratio = np.ptp(result[0], axis=0) / np.ptp(points[0], axis=0)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


def test_errors(tmp_path):
    with pytest.raises(InputError, match="unknown kind of data set 'x' 'digit'; did you mean 'digits'"):
        sample("x", settings={"kind": "digit"}, downloads=None, output=tmp_path / "x")
    settings = {"kind": "clouds", "files": [{"name": "a.npz"}]}
    with pytest.raises(InputError, match=r"a\.npz does not exist; make it with `gmcn download --dataset x`"):
        sample("x", settings=settings, downloads=tmp_path, output=tmp_path / "x")
    with pytest.raises(InputError, match="download it first"):
        sample("x", settings=settings, downloads=None, output=tmp_path / "x")
    assert not any(tmp_path.iterdir())


def test_two_classes_of_one_name_are_refused(tmp_path):
    arrays = {"points": np.random.default_rng(0).random((4, 30, 3)), "label": [0, 1, 0, 1], "is_train": [1, 1, 0, 0]}
    np.savez(tmp_path / "a.npz", **arrays, name=list("abcd"), class_names=["x", "x"])
    settings = {"kind": "clouds", "path": str(tmp_path / "a.npz"), "points": 30}
    with pytest.raises(InputError, match=r"2 classes are called 'x' \(.*a\.npz\); give each a name of its own"):
        sample("x", settings=settings, downloads=None, output=tmp_path / "x")


def test_an_answer_is_the_class_of_the_largest_logit_whatever_classes_are_called():
    logits, metadata = torch.tensor([[1.0, 3.0, 0.0]]), {"class_names": list("abb")}
    [answer] = Measures().answer(lambda _: logits, torch.zeros(1), metadata)
    assert answer["class"] == "b"
    assert answer["probability"] == pytest.approx(0.8438, abs=1e-4)


GOOD = "OFF\n4 2 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n3 0 1 2\n3 0 2 3\n"
BAD = {
    "flat": "OFF\n3 1 0\n0 0 0\n1 0 0\n2 0 0\n3 0 1 2\n",
    "nan": GOOD.replace("1 1 0", "1 nan 0"),
    "cut": GOOD[:-10],
    "empty": "",
}


@pytest.fixture
def meshes(tmp_path):
    """A folder of three good meshes, one of which shares its name with a bad one, and of four more bad ones."""
    contents = {"train/a": GOOD, "train/b": GOOD, "test/c": GOOD, "test/a": BAD["flat"]}
    contents |= {f"train/{name}": text for name, text in BAD.items()}
    for place, text in contents.items():
        path = tmp_path / "mine" / "square" / f"{place}.off"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {"kind": "meshes", "path": str(tmp_path / "mine"), "points": 16}


@pytest.mark.parametrize("threads", [1, 2])
def test_bad_objects_stop_and_are_all_counted(meshes, tmp_path, threads):
    with pytest.raises(InputError) as caught:
        sample("mine", settings=meshes, downloads=None, output=tmp_path / "x.safetensors", threads=threads)
    text = str(caught.value)
    assert "5 of 8 objects of data set 'mine' cannot be used" in text
    for name in ("'a' (", "'cut' (", "'empty' (", "'flat' (", "'nan' (", "nan.off, line 5: a coordinate is not finite"):
        assert name in text
    assert "bad_objects: skip" in text
    assert not (tmp_path / "x.safetensors").exists()


def test_bad_objects_are_left_out_by_name(meshes, tmp_path, caplog):
    run = Run()
    settings = meshes | {"bad_objects": "skip"}
    sample("mine", settings=settings, downloads=None, output=tmp_path / "x.safetensors", run=run)
    tensors, metadata = load_tensors(tmp_path / "x.safetensors")
    assert metadata["names"] == ["c", "a", "b"]
    assert tensors["split"].tolist() == [1, 0, 0]
    assert tensors["points"].shape == (3, 16, 3)
    assert set(metadata["refused"]) == {"a", *BAD}
    assert "flat.off has no surface" in metadata["refused"]["flat"]
    assert all(f"'{name}' is left out: " in caplog.text for name in metadata["refused"])
    assert (run.metrics["sample/refused"], run.metrics["sample/train"], run.metrics["sample/test"]) == (5, 2, 1)


def test_equal_names_of_bad_objects_do_not_hide_each_other(meshes, tmp_path):
    other = tmp_path / "mine/square/test/flat.off"
    other.write_text(BAD["nan"])
    settings = meshes | {"bad_objects": "skip"}
    sample("mine", settings=settings, downloads=None, output=tmp_path / "x.safetensors")
    assert len(load_tensors(tmp_path / "x.safetensors")[1]["refused"]) == 6


def test_a_split_that_loses_all_its_objects(meshes, tmp_path):
    (tmp_path / "mine/square/test/c.off").unlink()
    with pytest.raises(InputError, match=r"'mine' has no test object; .* `parts: \[train\]`"):
        sample("mine", settings=meshes | {"bad_objects": "skip"}, downloads=None, output=tmp_path / "x.safetensors")
