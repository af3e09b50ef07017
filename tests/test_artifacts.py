"""Artifacts are whole or absent, readable by others, and say what is wrong with them."""

from __future__ import annotations

import os
import platform
import resource
import shlex
import signal
import stat
import subprocess
import sys

import numpy as np
import pytest
import torch

from gmcn import artifacts
from gmcn.artifacts import TensorWriter, absent, atomic, key_of, load_tensors, read_json, save_tensors, write_json
from gmcn.errors import InputError
from tests.conftest import ROOT


def test_tensors_and_metadata_come_back(tmp_path):
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])}
    save_tensors(tmp_path / "x.safetensors", tensors, {"names": ["p", "q"], "n": 3, "none": None})
    back, metadata = load_tensors(tmp_path / "x.safetensors")
    assert all(torch.equal(back[key], value) for key, value in tensors.items())
    assert metadata == {"names": ["p", "q"], "n": 3, "none": None}


def test_an_error_leaves_the_old_file_and_no_other(tmp_path):
    write_json(tmp_path / "x.json", {"old": 1})

    def fail_half_way():
        with atomic(tmp_path / "x.json") as temporary:
            temporary.write_text("half")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail_half_way()
    assert read_json(tmp_path / "x.json") == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_others_may_read_what_the_umask_allows(tmp_path, umask):
    before = os.umask(umask)
    try:
        save_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(1)}, {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.safetensors").stat().st_mode) == 0o666 & ~umask


def test_damage_and_absence_are_told_with_the_remedy(tmp_path):
    with pytest.raises(InputError, match=r"absent\.json does not exist; make it with"):
        read_json(tmp_path / "absent.json")
    with pytest.raises(InputError, match=r"absent\.safetensors does not exist; make it with"):
        load_tensors(tmp_path / "absent.safetensors")
    (tmp_path / "x.json").write_text('{"half": ')
    with pytest.raises(
        InputError, match=r"is damaged \(Expecting value.*`rm .*x\.json && snakemake --cores all .*x\.json`"
    ):
        read_json(tmp_path / "x.json")
    save_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(100)}, {})
    (tmp_path / "x.safetensors").write_bytes((tmp_path / "x.safetensors").read_bytes()[:200])
    with pytest.raises(InputError, match="is damaged"):
        load_tensors(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("results/points/digits.safetensors", ""),
        ("x.safetensors", ""),
        ("/else where/points/digits.safetensors", " --config results='/else where'"),
        ("mine/runs/digits_small/seed0/model.safetensors", " --config results=mine"),
    ],
)
def test_the_remedy_names_the_folder_of_results(path, more):
    assert str(absent(path)).endswith(f"make it with `snakemake --cores all {shlex.quote(path)}{more}`")


def test_json_has_no_not_a_number(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_keys_depend_on_content_and_not_on_order():
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2})


def test_rows_become_one_file_that_safetensors_reads(tmp_path):
    rows = torch.arange(24, dtype=torch.float32).reshape(4, 3, 2)
    path = tmp_path / "x.safetensors"
    with TensorWriter(path) as writer:
        for index, row in enumerate(rows):
            writer.append({"small": np.uint8(index), "points": row.numpy(), "label": np.int64(index)})
        assert list(tmp_path.iterdir()) == []  # nothing to be seen, and nothing to be left behind
        writer.finish({"names": ["ä", "b"], "none": None})
    back, metadata = load_tensors(path)
    assert torch.equal(back["points"], rows)
    assert back["label"].tolist() == back["small"].tolist() == [0, 1, 2, 3]
    assert (back["label"].dtype, back["small"].dtype) == (torch.int64, torch.uint8)
    assert metadata == {"names": ["ä", "b"], "none": None}
    save_tensors(tmp_path / "y.safetensors", back, metadata)
    assert (tmp_path / "y.safetensors").stat().st_size == pytest.approx(path.stat().st_size, abs=64)


def test_rows_of_another_shape_are_refused_and_leave_nothing(tmp_path):
    def write():
        with TensorWriter(tmp_path / "x.safetensors") as writer:
            writer.append({"points": np.zeros((3, 3), dtype=np.float32)})
            writer.append({"points": np.zeros((4, 3), dtype=np.float32)})

    with pytest.raises(InputError, match=r"a row of 'points' is float32 \(4, 3\)"):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.faults
def test_rows_that_a_full_disk_does_not_take_hide_no_other_error(tmp_path):
    def write():
        with TensorWriter(tmp_path / "x.safetensors") as writer:
            writer.append({"points": np.zeros((3, 3), dtype=np.float32)})
            raise InputError("the next shape is none")

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(InputError, match="the next shape"):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_what_a_killed_process_left_goes_with_the_next_try(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = platform.node().partition(".")[0]
    living, elsewhere = f".x.json.{host}.{os.getppid()}.part", f".x.json.node17.{ended.pid}.part"
    for name in (living, elsewhere, f".x.json.{host}.{ended.pid}.part"):
        (tmp_path / name).write_text("half")
    (tmp_path / ".x.json.part").write_text("a download that goes on")
    write_json(tmp_path / "x.json", {})
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"x.json", ".x.json.part", living, elsewhere}


def test_the_commit_is_that_of_our_checkout_and_not_of_one_around_it(tmp_path, monkeypatch):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a"]
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    for folder, commit in (("gmcn", head), ("venv/site-packages/gmcn", None)):
        (tmp_path / folder).mkdir(parents=True)
        monkeypatch.setattr(artifacts, "__file__", str(tmp_path / folder / "artifacts.py"))
        assert artifacts.git_commit() == commit


KILLED = """
import resource, signal, sys, torch
from gmcn.artifacts import save_tensors
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python turns it into an error
save_tensors(sys.argv[1], {"a": torch.zeros(1000)}, {})
"""


@pytest.mark.faults
def test_tensors_that_were_half_written_when_the_process_was_killed_go_with_the_next_try(tmp_path):
    path = tmp_path / "x.safetensors"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=ROOT)
    assert killed.returncode == -signal.SIGXFSZ
    assert list(tmp_path.iterdir())
    save_tensors(path, {"a": torch.zeros(1)}, {})
    assert list(tmp_path.iterdir()) == [path]
