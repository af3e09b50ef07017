"""Checkpoints and mixtures of strangers: used, refused in one sentence or passed over, and never executed."""

from __future__ import annotations

import io
import pickle
import zipfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gmcn.artifacts import load_tensors, save_tensors
from gmcn.data.objects import read_split
from gmcn.training import train
from gmcn.training.callbacks import FORMAT, LastCheckpoint
from gmcn.training.checkpoints import find_checkpoint, training_key
from tests.damage import EDITS, VALUES, altered, fuzz, malicious, outcome, replaced
from tests.training.conftest import make_mixtures

KEY = "the key"
STATE = {"callbacks": {LastCheckpoint.__qualname__: {"key": KEY, "format": FORMAT}}, "weights": torch.ones(5)}


def torch_file(content: object) -> bytes:
    target = io.BytesIO()
    torch.save(content, target)
    return target.getvalue()


def with_pickle(content: bytes, pickled: bytes) -> bytes:
    """A checkpoint of torch with another pickle in it."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            archive.writestr(name, pickled if name.endswith("data.pkl") else source.read(name))
    return target.getvalue()


@fuzz(200)
@given(EDITS, st.sampled_from([0.3, 1, 4]))
def test_altered_checkpoints_are_passed_over(tmp_path_factory, edits, power):
    path = tmp_path_factory.getbasetemp() / "last.ckpt"
    path.write_bytes(altered(torch_file(STATE), edits, power))
    assert outcome(find_checkpoint, path.parent, KEY) in ((None, None), (path, None))


@fuzz(60)
@given(EDITS)
def test_altered_pickles_in_checkpoints_are_passed_over(tmp_path_factory, edits):
    path = tmp_path_factory.getbasetemp() / "last.ckpt"
    content = torch_file(STATE)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        inner = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    path.write_bytes(with_pickle(content, altered(inner, edits, 1)))
    assert outcome(find_checkpoint, path.parent, KEY) in ((None, None), (path, None))


@pytest.mark.parametrize("where", ["bare", "whole", "inside", "beside"])
def test_a_checkpoint_that_would_execute_something_is_passed_over(tmp_path, mixtures, settings, where):
    """And the training that finds it starts afresh."""
    evil = malicious(tmp_path)[0]
    state = {"callbacks": {LastCheckpoint.__qualname__: {"key": training_key(mixtures, settings, 0), "format": FORMAT}}}
    content = {
        "bare": lambda: pickle.dumps(evil),
        "whole": lambda: with_pickle(torch_file(state), pickle.dumps(evil, protocol=2)),
        "inside": lambda: torch_file({**state, "loops": [evil]}),
        "beside": lambda: torch_file({**state, "state_dict": evil, "pytorch-lightning_version": "2.5.0"}),
    }[where]()
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("last.ckpt", "previous.ckpt"):
        (folder / name).write_bytes(content)
    settings["training"] |= {"epochs": 1}
    settings["training"].pop("warmup_epochs")
    assert train(mixtures, settings=settings, seed=0, output=folder, device="cpu", threads=1)["resumed"] == 0
    assert not (tmp_path / "executed").exists()


def test_the_test_has_teeth(tmp_path):
    pickle.loads(pickle.dumps(malicious(tmp_path)[0])).close()
    assert (tmp_path / "executed").exists()


@fuzz(80)
@given(st.data(), VALUES)
def test_mixtures_of_strangers(tmp_path_factory, data, value):
    path = tmp_path_factory.getbasetemp() / "stranger.safetensors"
    tensors, metadata = load_tensors(make_mixtures(path))
    metadata = replaced({key: metadata[key] for key in ("class_names", "names")}, data.draw(st.floats(0, 1)), value)
    name = data.draw(st.sampled_from(sorted(tensors)))
    other = data.draw(st.sampled_from([lambda t: t, lambda t: t[1:], lambda t: t.double(), lambda t: t.bool(),
                                       lambda t: t.flatten(), lambda t: t - 100, lambda t: t * torch.nan]))  # fmt: skip
    tensors[name] = other(tensors[name]).contiguous()
    try:
        save_tensors(path, tensors, metadata if isinstance(metadata, dict) else {"class_names": metadata})
    except ValueError:  # JSON has no infinity
        return
    found, _ = outcome(read_split, path, 0)
    if found is not None:
        assert len(found) == len(found.names) == len(found.inputs.weights)
        assert int(found.labels.max()) < len(found.class_names)
