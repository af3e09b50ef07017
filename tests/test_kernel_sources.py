"""Kernels that were built of other sources than those beside them."""

from __future__ import annotations

import shutil

import pytest

from gmcn import _inspect, kernel_sources
from gmcn.errors import InputError


def test_these_are_the_kernels_of_these_sources():
    kernel_sources.check_built()


@pytest.mark.parametrize("change", ["content", "name", "gone", "other"])
def test_kernels_of_other_sources_are_refused(tmp_path, monkeypatch, change):
    folder = tmp_path / "csrc"
    shutil.copytree(kernel_sources.FOLDER, folder)
    monkeypatch.setattr(kernel_sources, "FOLDER", folder)
    monkeypatch.setattr(kernel_sources, "digest", lambda own=kernel_sources.digest: own(folder))
    kernel_sources.check_built()
    file = folder / "common" / "simd.h"
    if change == "content":
        file.write_text(file.read_text() + "\n")
    elif change == "name":
        file.rename(folder / "common" / "vectors.h")
    elif change == "gone":
        file.unlink()
    else:  # what is no source
        (folder / "notes.txt").write_text("nothing")
        kernel_sources.check_built()
        monkeypatch.delattr(_inspect, "sources")  # of an older build
    with pytest.raises(InputError, match=r"the kernels are not those of csrc, .*: build them with `make setup`"):
        kernel_sources.check_built()


def test_an_installed_package_has_no_sources_to_compare_with(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_sources, "FOLDER", tmp_path / "csrc")
    kernel_sources.check_built()
