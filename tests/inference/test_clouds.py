"""Clouds that a network draws, and those that it completes: files, pages, units, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gmcn
from gmcn import cli
from gmcn.artifacts import load_tensors
from gmcn.data.objects import TRAIN, read_split
from gmcn.data.reading import parse_geometry
from gmcn.errors import InputError
from gmcn.fitting import fit
from gmcn.inference import completing


def run(command: str, *arguments) -> int:
    return cli.main([command, *map(str, arguments), "--device", "cpu"])


def points_of(path) -> np.ndarray:
    return parse_geometry(path.read_bytes(), str(path))[0]


@pytest.fixture
def half(generator, tmp_path):
    """The upper half of a test object, as a file."""
    cloud = generator.clouds[0]
    path = tmp_path / "half.xyz"
    np.savetxt(path, cloud[cloud[:, 2] > 0].numpy())
    return path


def test_new_clouds_are_the_same_for_a_seed_and_about_as_large(generator):
    first, again, other = (gmcn.generate(generator.model, 20, seed, device="cpu").samples for seed in (1, 1, 2))
    assert first.shape == (20, 1024, 3)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0.3 < first.std() / generator.clouds.std() < 3
    assert gmcn.generate(generator.model, 2, points=50, flatten=True, device="cpu").samples.shape == (2, 50, 3)


def test_clouds_of_a_network_are_read_by_it_and_fitted(generator, tmp_path):
    path, mixtures = tmp_path / "clouds.safetensors", tmp_path / "mixtures.safetensors"
    assert run("generate", generator.model, "--count", 3, "--points", 80, "--output", path) == 0
    assert len(gmcn.predict(generator.model, path, device="cpu")) == 3
    fit(path, settings={"components": 4}, output=mixtures, dataset="drawn", name="own")
    assert read_split(mixtures, TRAIN).inputs.weights.shape == (3, 4)


@pytest.mark.parametrize("suffix", ["ply", "html", "png", "npy", "safetensors"])
def test_clouds_are_written_side_by_side(generator, suffix, tmp_path):
    path = tmp_path / f"clouds.{suffix}"
    assert run("generate", generator.model, "--count", 5, "--points", 60, "--output", path) == 0
    expected = gmcn.generate(generator.model, 5, points=60, device="cpu").samples
    if suffix == "ply":
        shown = points_of(path)
        assert shown.shape == (300, 3)
        np.testing.assert_allclose(shown[:60], expected[0], atol=1e-5)
        assert np.ptp(shown[:, 0]) > 2 * np.ptp(expected[0, :, 0].numpy())
    elif suffix == "npy":
        np.testing.assert_array_equal(np.load(path), expected)
    elif suffix == "safetensors":
        torch.testing.assert_close(read_split(path, TRAIN).inputs, expected)
    else:
        assert path.stat().st_size > 5000


def test_a_folder_has_a_file_for_each(generator, tmp_path):
    assert run("generate", generator.model, "--count", 3, "--output", f"{tmp_path}/new/") == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [f"{i}_sample.ply" for i in range(3)]


def test_the_way_between_two_clouds_begins_and_ends_at_them(generator, tmp_path):
    files = [generator.folder / f"box{place}.xyz" for place in (0, 1)]
    found = gmcn.generate(generator.model, 3, between=files, device="cpu").samples
    ends = gmcn.generate(generator.model, like=files, device="cpu").samples
    assert found.shape == (3, 1024, 3)
    spread = [cloud.std(0) for cloud in (*found, *ends)]
    torch.testing.assert_close(spread[0], spread[3], atol=0.03, rtol=0.1)
    torch.testing.assert_close(spread[2], spread[4], atol=0.03, rtol=0.1)
    assert run("generate", generator.model, "--interpolate", *files, "--output", tmp_path / "way.html") == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"between": ["one.xyz"]}, "between takes two files"),
        ({"class_name": "box"}, "no components that belong to classes"),
        ({"top": 2}, "PointGMM draws its samples as they are, without top"),
        ({"points": 0}, "points is 0, but must be at least 1"),
    ],
)
def test_options_of_others_are_refused(generator, options, sentence):
    with pytest.raises(InputError, match=sentence):
        gmcn.generate(generator.model, 2, device="cpu", **options)


def test_images_are_not_written_as_clouds(density, tmp_path):
    assert run("generate", density.model, "--count", 2, "--output", tmp_path / "digits.ply") == 2
    with pytest.raises(InputError, match="GMM draws its samples as they are, without points"):
        gmcn.generate(density.model, 2, points=5, device="cpu")


def test_a_part_becomes_a_whole(generator, half):
    seen = torch.from_numpy(np.loadtxt(half))
    found = gmcn.complete(generator.model, half, points=500, device="cpu")
    torch.testing.assert_close(found.seen, seen)
    assert found.points.shape == (500, 3)
    assert found.mixture.components == 32
    assert (found.points[:, 2] < 0).double().mean() > 0.1  # of which nothing was seen
    decoded = gmcn.complete(generator.model, half, adapted=False, device="cpu")
    assert found.mixture.log_prob(seen.float()).mean() > decoded.mixture.log_prob(seen.float()).mean()


def test_points_that_are_no_numbers_are_left_out_on_demand(generator, half, tmp_path):
    holes, whole = tmp_path / "holes.xyz", tmp_path / "whole.npy"
    holes.write_text("nan nan nan\n" + half.read_text())
    with pytest.raises(InputError, match=r"`drop_not_finite: true` leaves .*`complete` and"):
        gmcn.complete(generator.model, holes, device="cpu")
    assert run("complete", generator.model, holes, "--drop-not-finite", "--output", whole) == 0
    np.testing.assert_array_equal(np.load(whole), gmcn.complete(generator.model, half, device="cpu").points)
    (tmp_path / "box0.xyz").write_text("nan nan nan\n" + (generator.folder / "box0.xyz").read_text())
    options = ("--drop-not-finite", "--output", whole)
    assert run("generate", generator.model, "--like", tmp_path / "box0.xyz", *options) == 0
    same = gmcn.generate(generator.model, like=generator.folder / "box0.xyz", device="cpu").samples
    np.testing.assert_array_equal(np.load(whole), same)


def test_the_whole_has_the_units_of_the_part(generator, half, tmp_path):
    small = gmcn.complete(generator.model, half, normalize=True, device="cpu")
    other = tmp_path / "large.xyz"
    np.savetxt(other, 100 * np.loadtxt(half) + 7)
    with pytest.raises(InputError, match=r"large\.xyz reaches .* from the origin, and the objects of this network"):
        gmcn.complete(generator.model, other, device="cpu")
    large = gmcn.complete(generator.model, other, normalize=True, device="cpu")
    torch.testing.assert_close(large.points, 100 * small.points + 7, rtol=1e-3, atol=1e-2)
    completing.write(str(tmp_path / "large.ply"), large, {})
    np.testing.assert_array_equal(points_of(tmp_path / "large.ply"), large.points)
    torch.testing.assert_close(large.mixture.means, 100 * small.mixture.means + 7, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("suffix", ["ply", "html", "png", "npy", "safetensors"])
def test_wholes_are_written_in_many_ways(generator, half, suffix, tmp_path):
    path = tmp_path / f"whole.{suffix}"
    assert run("complete", generator.model, half, "--points", 100, "--output", path) == 0
    expected = gmcn.complete(generator.model, half, points=100, device="cpu")
    if suffix == "ply":
        np.testing.assert_array_equal(points_of(path), expected.points)
    elif suffix == "npy":
        np.testing.assert_allclose(np.load(path), expected.points)
    elif suffix == "safetensors":
        torch.testing.assert_close(load_tensors(path)[0]["positions"][0], expected.mixture.means)
    elif suffix == "html":
        assert all(f'"name":"{name}"' in path.read_text() for name in ("given", "whole"))
    else:
        assert path.stat().st_size > 5000


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0 0 0\n" * 5, "has 5 points; a partial view needs 8 or more"),
        ("0.1 0.1 0.1\n" * 20, "has all its points in one place"),
        ("0 0 nan\n" * 20, "not finite"),
        ("", "partial"),
    ],
)
def test_what_cannot_be_completed_is_refused(generator, text, sentence, tmp_path):
    path = tmp_path / "partial.xyz"
    path.write_text(text)
    with pytest.raises(InputError, match=sentence):
        gmcn.complete(generator.model, path, device="cpu")


def test_other_networks_complete_nothing(density, half, tmp_path):
    with pytest.raises(InputError, match="completes no clouds; take a network of the task generation"):
        gmcn.complete(density.model, half, device="cpu")
    assert run("complete", density.model, half, "--output", tmp_path / "whole.doc") == 2
