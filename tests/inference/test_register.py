"""Files that are registered: what is found, written and refused. The search itself: tests/registration."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

import gmcn
from gmcn import cli
from gmcn.artifacts import save_tensors
from gmcn.data.reading import parse_geometry
from gmcn.data.splats import PROPERTIES
from gmcn.errors import InputError
from gmcn.fitting import fit_points
from gmcn.mixture import GaussianMixture, MixtureTree
from gmcn.models import RegistrationNetwork, build, describe
from gmcn.registration.rotations import angles_between, turns

from ..registration.shapes import chair

TURN = turns(torch.tensor([0.0, 0, 1]).double(), torch.tensor([0.8]).double())[0]
SHIFT = torch.tensor([1.0, 2, 3]).double()


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / "source.xyz", tmp_path / "target.npy"]
    np.savetxt(paths[0], chair(0))
    np.save(paths[1], (chair(1) @ TURN.mT + SHIFT).numpy())
    return paths


def run(*arguments) -> int:
    return cli.main(["register", *map(str, arguments)])


def test_files_and_clouds_are_registered_alike(files):
    found = gmcn.register(*files, axis="z")
    assert angles_between(found.rotations[:1], TURN[None]).item() < 2
    torch.testing.assert_close(found.translation, SHIFT, rtol=0, atol=0.05)
    clouds = gmcn.register(np.loadtxt(files[0]), torch.from_numpy(np.load(files[1])), axis=(0, 0, 2.0))
    torch.testing.assert_close(clouds.matrix, found.matrix)
    assert not found.matrix.requires_grad


def test_a_mesh_is_registered_by_its_surface(tmp_path, files):
    trimesh = pytest.importorskip("trimesh")
    mesh = trimesh.util.concatenate([trimesh.creation.box((1, 2, 0.5)), trimesh.creation.box((0.2, 0.2, 3))])
    mesh.apply_translation((0.3, 0, 0))
    mesh.export(tmp_path / "one.ply")
    mesh.apply_transform(np.vstack([np.column_stack([TURN, SHIFT]), [0, 0, 0, 1]]))
    mesh.export(tmp_path / "two.off")
    found = gmcn.register(tmp_path / "one.ply", tmp_path / "two.off", axis="z")
    # Two boxes about one middle: half a turn fits as well.
    assert angles_between(found.rotations, TURN[None]).min() < 3


def test_splats_are_registered_as_they_are(tmp_path):
    generator = torch.Generator().manual_seed(0)
    centres = chair(0)[torch.randperm(len(chair(0)), generator=generator)[:300]]
    for name, points in (("one.ply", centres), ("two.ply", centres @ TURN.mT + SHIFT)):
        rows = [[*point, 2.0, -4.0, -4.0, -4.0, 1.0, 0.0, 0.0, 0.0] for point in points.tolist()]
        header = "".join(f"property float {prop}\n" for prop in PROPERTIES)
        text = f"ply\nformat ascii 1.0\nelement vertex {len(rows)}\n{header}end_header\n"
        (tmp_path / name).write_text(text + "\n".join(" ".join(map(str, row)) for row in rows) + "\n")
    found = gmcn.register(tmp_path / "one.ply", tmp_path / "two.ply", axis="z")
    assert angles_between(found.rotations[:1], TURN[None]).item() < 1
    assert run(tmp_path / "one.ply", tmp_path / "two.ply", "--axis", "z", "--output", tmp_path / "moved.ply") == 0
    moved = parse_geometry((tmp_path / "moved.ply").read_bytes(), "moved.ply")[0]
    assert moved.shape == (2048, 3)
    np.testing.assert_allclose(moved.mean(0), (centres @ TURN.mT + SHIFT).mean(0), atol=0.05)


@pytest.mark.parametrize("suffix", ["json", "ply", "npy", "html", "png"])
def test_what_is_found_is_written(files, suffix, tmp_path, capsys):
    path = tmp_path / f"found.{suffix}"
    assert run(*files, "--axis", "z", "--output", path) == 0
    said = capsys.readouterr().out
    assert "mode 1: weight" in said
    assert f"wrote {path}" in said
    found = gmcn.register(*files, axis="z")
    if suffix == "json":
        written = json.loads(path.read_text())
        first = written["modes"][0]
        assert "commit" in written["provenance"]
        np.testing.assert_allclose(first["matrix"], found.matrix)
        assert first["weight"] == pytest.approx(found.confidence)
    elif suffix in ("ply", "npy"):
        moved = np.load(path) if suffix == "npy" else parse_geometry(path.read_bytes(), str(path))[0]
        np.testing.assert_allclose(moved, found.move(chair(0)), rtol=0, atol=1e-12)
    else:
        assert path.stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--axis", "up"], "axis is 'up', but must be one of x, y, z, or a direction"),
        (["--within", "0"], "within is 0.0, but must be above 0 and at most 180 degrees"),
        (["--seed", "9" * 20], "but must be at least 0 and have at most 63 bits"),
        (["--model-seed", "3"], "model_seed chooses among the networks of a model"),
        (["--output", "moved.doc"], "cannot write moved.doc: its name must end in one of .json"),
    ],
)
def test_options_that_mean_nothing_are_refused(files, arguments, sentence, capsys):
    assert run(*files, *arguments) == 2
    assert sentence in capsys.readouterr().err


def test_files_that_cannot_be_used_are_refused(files, tmp_path):
    with pytest.raises(InputError, match=r"nothing.ply does not exist"):
        gmcn.register(tmp_path / "nothing.ply", files[1])
    (tmp_path / "few.xyz").write_text("0 0 0\n1 1 1\n0 1 0\n")
    with pytest.raises(InputError, match=r"the source .*few\.xyz has 3 different points; a registration needs 8"):
        gmcn.register(tmp_path / "few.xyz", files[1])
    with pytest.raises(InputError, match="modes is 0"):
        gmcn.register(*files, modes=0)
    with pytest.raises(InputError, match="three numbers, not all 0"):
        gmcn.register(*files, axis=(0, 0, 0))
    with pytest.raises(InputError, match="three numbers, not all 0"):
        gmcn.register(*files, axis=(0, math.nan, 0))
    with pytest.raises(InputError, match="axis is 5, but must be three numbers"):
        gmcn.register(*files, axis=5)
    with pytest.raises(InputError, match="is a folder"):
        gmcn.register(tmp_path, files[1])
    points = chair(0).clone()
    points[3, 1] = math.nan
    np.save(tmp_path / "holes.npy", points)
    with pytest.raises(InputError, match=r"holes\.npy"):
        gmcn.register(tmp_path / "holes.npy", files[1])
    assert run(tmp_path / "holes.npy", files[1], "--drop-not-finite") == 0


def test_what_has_nothing_in_common_is_said(files, tmp_path, capsys):
    generator = torch.Generator().manual_seed(0)
    balls = (
        0.02 * torch.randn(300, 3, generator=generator)
        + torch.tensor([3.0, 0, 0]) * torch.arange(3).repeat(100)[:, None]
    )
    np.savetxt(tmp_path / "balls.xyz", balls)
    assert run(files[0], tmp_path / "balls.xyz") == 0
    assert "may have nothing in common" in capsys.readouterr().err
    assert run(*files) == 0
    assert "nothing in common" not in capsys.readouterr().err


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network that has learnt nothing, for chairs."""
    settings = {"kind": "registration", "latent": 5, "pose": 6, "encoder": [8, 16], "decoder": False}
    network = build(settings, dim=3, seed=0).eval()
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_tensors(path, network.state_dict(), {"network": describe(network), "trained": {"reach": [0.8, 0.9, 1.2]}})
    return path


def test_a_network_is_asked_about_both_clouds(files, model, monkeypatch, capsys):
    """It is sure of what is the second best fit."""
    alone = gmcn.register(*files, axis="z")
    second = alone.rotations[1]
    believed = round(math.degrees(math.atan2(second[1, 0], second[0, 0])) / 5)
    asked, said = [], RegistrationNetwork.poses

    def sure(self, points):
        asked.append(points.shape)
        poses = said(self, points)
        chances = torch.full_like(poses.chances, -20.0)
        chances[:, 0 if len(asked) == 1 else believed] = 0
        return poses._replace(chances=chances, translations=points.mean(1))

    monkeypatch.setattr(RegistrationNetwork, "poses", sure)
    found = gmcn.register(*files, model=model)
    assert asked == [(1, len(np.loadtxt(files[0])), 3), (1, len(np.load(files[1])), 3)]
    assert angles_between(found.rotations[:1], second[None]).item() < 2
    assert angles_between(alone.rotations[:1], second[None]).item() > 20
    monkeypatch.setattr(RegistrationNetwork, "poses", said)
    assert run(*files, "--model", model) == 0
    assert "mode 1" in capsys.readouterr().out


def test_a_network_is_shown_points_of_mixtures_and_trees_and_some_of_many(model, monkeypatch):
    asked, said = [], RegistrationNetwork.poses
    monkeypatch.setattr(RegistrationNetwork, "poses", lambda self, points: asked.append(points) or said(self, points))
    mixture = GaussianMixture.from_mixture(fit_points(chair(0)[None], 16).map(lambda one: one[0]))
    many = chair(0).repeat(5, 1) + 0.001 * torch.arange(5).repeat_interleave(len(chair(0)))[:, None]
    gmcn.register(mixture, MixtureTree((mixture,)), model=model)
    gmcn.register(many, many, model=model)
    assert [points.shape for points in asked] == 4 * [(1, 2048, 3)]
    spread = mixture.moments()[1].diagonal().sqrt()
    torch.testing.assert_close(asked[0][0].double().std(0), spread, rtol=0.05, atol=0)
    assert len(asked[2][0].unique(dim=0)) == 2048


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--axis", "x"], "a network gives turns about z"),
        (["--scale"], "a network knows the sizes of its objects"),
    ],
)
def test_what_a_network_cannot_do_is_refused(files, model, arguments, sentence, capsys):
    assert run(*files, "--model", model, *arguments) == 2
    assert sentence in capsys.readouterr().err


def test_a_network_of_neighbourhoods_needs_enough_points(tmp_path):
    settings = {"kind": "registration", "latent": 5, "pose": 6, "encoder": [8, 16], "decoder": False, "neighbours": 30}
    network = build(settings, dim=3, seed=0).eval()
    path = tmp_path / "model.safetensors"
    save_tensors(path, network.state_dict(), {"network": describe(network), "trained": {"reach": [0.8, 0.9, 1.2]}})
    with pytest.raises(InputError, match=r"the source has 30 points, and .*model\.safetensors needs 31"):
        gmcn.register(chair(0)[::34][:30], chair(0), model=path)


def test_other_units_and_other_networks_are_refused(files, model, tmp_path):
    for factor in (1000, 0.2):
        with pytest.raises(
            InputError, match=r"the target reaches .* from its middle, and the objects of .* 0\.9: it is in"
        ):
            gmcn.register(chair(0), chair(0) * factor, model=model)
    with pytest.raises(InputError, match="unknown pretrained network 'nothing'"):
        gmcn.register(tmp_path / "not.there", files[1], model="nothing")
    network = build({"kind": "mlp"}, classes=2, shape=[3])
    other = tmp_path / "model.safetensors"
    save_tensors(other, network.state_dict(), {"network": describe(network)})
    with pytest.raises(InputError, match="gives no poses; take a network of the task registration"):
        gmcn.register(*files, model=other)
