"""One split of an artifact, whatever its objects are."""

from __future__ import annotations

import pytest
import torch

from gmcn.artifacts import save_tensors
from gmcn.data.objects import TEST, TRAIN, batches_in_order, count, each, read_split, select, stack
from gmcn.errors import InputError
from tests.ops.workload import random_mixture

SHAPES = {"images": (4, 6), "points": (7, 3), "vectors": (5,)}


def artifact(path, kind: str, *, labelled: bool = True, **changes):
    """Six objects, the last two of them for the test."""
    tensors = {"split": torch.tensor([0, 0, 0, 0, 1, 1])}
    metadata = {"names": list("abcdef"), "dataset": "toy"}
    if kind == "mixtures":
        tensors |= random_mixture((6,), 8, 2).to(torch.float32)._asdict()
    else:
        tensors[kind] = torch.arange(6.0).view(6, *[1] * len(SHAPES[kind])).expand(6, *SHAPES[kind]).contiguous()
    if labelled:
        tensors["labels"], metadata["class_names"] = torch.tensor([0, 1, 0, 1, 1, 0]), ["x", "y"]
    save_tensors(path, tensors | changes, metadata)
    return path


@pytest.mark.parametrize(
    ("kind", "traits"),
    [
        ("mixtures", {"dim": 2, "shape": [8]}),
        ("images", {"dim": 2, "shape": [4, 6]}),
        ("points", {"dim": 3, "shape": [7]}),
        ("vectors", {"dim": 1, "shape": [5]}),
    ],
)
@pytest.mark.parametrize("labels", [True, False])
def test_a_split_of_every_kind(tmp_path, kind, traits, labels):
    path = artifact(tmp_path / "a.safetensors", kind, labelled=labels)
    train, test = read_split(path, TRAIN), read_split(path, TEST)
    assert (train.kind, len(train), len(test), test.names) == (kind, 4, 2, ["e", "f"])
    assert train.traits == traits | ({"classes": 2} if labels else {})
    assert (test.labels.tolist() if labels else test.labels) == ([1, 0] if labels else None)
    assert count(test.inputs) == 2
    if kind != "mixtures":
        assert test.inputs.unique().tolist() == [4, 5]
    batches = batches_in_order(train.inputs, train.labels, 3)
    assert [count(inputs) for inputs, _ in batches] == [3, 1]
    again = stack([each(select(train.inputs, torch.tensor([index])), lambda t: t[0]) for index in range(4)])
    pairs = zip(again, train.inputs, strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"points": torch.zeros(6, 3)}, r"its points are \[4, 3\], not points \[S, M, D\]"),
        ({"points": torch.full((6, 7, 3), torch.nan)}, "'a' holds values that are not finite \\(4 of 4 objects\\)"),
        ({"split": torch.zeros(6)}, "holds no test shapes; make it again with `gmcn sample`"),
        ({"labels": torch.full((6,), 2)}, "labels that are none of its 2 classes"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, changes, sentence):
    path = artifact(tmp_path / "a.safetensors", "points", **changes)
    with pytest.raises(InputError, match=sentence):
        read_split(path, TEST if "split" in changes else TRAIN)


def test_a_file_of_nothing_known_is_refused(tmp_path):
    save_tensors(tmp_path / "a.safetensors", {"split": torch.zeros(2)}, {})
    with pytest.raises(InputError, match="is no artifact of objects: it lacks mixtures, images, points or vectors"):
        read_split(tmp_path / "a.safetensors", TRAIN)
