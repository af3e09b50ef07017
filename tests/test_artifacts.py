"""Artifacts are whole or absent, readable by others, and say what is wrong with them."""

from __future__ import annotations

import os
import stat

import pytest
import torch

from gmcn.artifacts import atomic, key_of, load_tensors, read_json, save_tensors, write_json
from gmcn.errors import InputError


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
    with pytest.raises(InputError, match="not readable JSON"):
        read_json(tmp_path / "x.json")
    save_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(100)}, {})
    (tmp_path / "x.safetensors").write_bytes((tmp_path / "x.safetensors").read_bytes()[:200])
    with pytest.raises(InputError, match="is damaged"):
        load_tensors(tmp_path / "x.safetensors")


def test_json_has_no_not_a_number(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_keys_depend_on_content_and_not_on_order():
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2})
