"""Gaussian splats: what their files say becomes a mixture with the same values everywhere."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
import torch

from gmcn.artifacts import load_tensors
from gmcn.data import sample
from gmcn.data.ply import count_vertices, read_vertices
from gmcn.data.splats import PROPERTIES, parse_splats, prepare_splats
from gmcn.errors import InputError
from gmcn.fitting import reduce_mixtures
from gmcn.mixture import Mixture
from gmcn.ops import evaluate, integrate, reduce_treehem
from tests.data.files import ply


def splats(count, seed=0, **changes):
    """The properties of random splats, with colours that are not looked at."""
    rng = np.random.default_rng(seed)
    values = {name: rng.normal(size=count) for name in PROPERTIES}
    values |= {f"scale_{i}": rng.normal(-2, 0.5, count) for i in range(3)}
    return {"nx": np.zeros(count), **values, "f_dc_0": rng.normal(size=count)} | changes


def test_the_mixture_has_the_splats_values(tmp_path):
    """Rendering's own formula: opacity * exp(-1/2 |S^-1 R^T (x - mu)|^2), the rotation by quaternion products."""
    from scipy.spatial.transform import Rotation

    values = splats(7)
    row = parse_splats(ply(values), "a.ply")
    points = np.random.default_rng(1).normal(size=(50, 3))
    expected = np.zeros(50)
    for n in range(7):
        quaternion = [values[f"rot_{i}"][n] for i in (1, 2, 3, 0)]  # x, y, z, w there
        local = Rotation.from_quat(quaternion).inv().apply(points - [values[axis][n] for axis in "xyz"])
        scales = np.exp([values[f"scale_{i}"][n] for i in range(3)])
        peak = 1 / (1 + np.exp(-values["opacity"][n]))
        expected += peak * np.exp(-0.5 * ((local / scales) ** 2).sum(-1))
    mixture = Mixture(*(torch.from_numpy(row[name]) for name in Mixture._fields))
    np.testing.assert_allclose(evaluate(mixture, torch.from_numpy(points)), expected, rtol=1e-4, atol=1e-5)
    determinant = np.linalg.det(2 * np.pi * row["covariances"])
    np.testing.assert_allclose(row["weights"], np.sqrt(determinant) / (1 + np.exp(-values["opacity"])), rtol=1e-4)


def test_extreme_opacities_and_flat_splats_stay_usable():
    values = splats(4, opacity=np.array([-800.0, 800.0, 0.0, 0.0]), scale_0=np.full(4, -30.0))
    row = parse_splats(ply(values), "a.ply")
    assert row["weights"][0] == 0
    assert np.isfinite(row["weights"]).all()
    assert (torch.linalg.cholesky_ex(torch.from_numpy(row["covariances"]).float()).info == 0).all()


@pytest.fixture
def folder(tmp_path):
    for part, name, count in (("train", "cup_1", 5), ("train", "cup_2", 9), ("test", "cup_3", 3)):
        path = tmp_path / "mine" / "cup" / part / f"{name}.ply"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(ply(splats(count, count)))
    return tmp_path / "mine"


@pytest.mark.parametrize("normalize", [True, False])
def test_a_folder_becomes_mixtures_of_one_size(folder, tmp_path, normalize):
    settings = {"kind": "splats", "path": str(folder), "normalize": normalize}
    sample("cups", settings=settings, downloads=None, output=tmp_path / "cups.safetensors")
    tensors, metadata = load_tensors(tmp_path / "cups.safetensors")
    assert metadata["names"] == ["cup_3", "cup_1", "cup_2"]
    assert tensors["split"].tolist() == [1, 0, 0]
    mixture = Mixture(*(tensors[name] for name in Mixture._fields))
    assert [tuple(tensor.shape) for tensor in mixture] == [(3, 9), (3, 9, 3), (3, 9, 3, 3)]
    assert mixture.weights.dtype == torch.float32
    assert (mixture.weights > 0).sum(-1).tolist() == [3, 5, 9]
    for filled in (mixture.positions[0], mixture.covariances[0]):
        assert torch.equal(filled[3:], filled[:1].expand_as(filled[3:])), "copies of the first"
    if normalize:
        assert torch.allclose(integrate(mixture), torch.ones(3))
        assert torch.allclose(mixture.positions.norm(dim=-1).amax(-1), torch.ones(3), atol=1e-6)
    # The values are those of the file, up to the similarity and one factor.
    row = parse_splats((folder / "cup/train/cup_2.ply").read_bytes(), "a.ply")
    ratio = (row["weights"] / mixture.weights[2].numpy()).std() / (row["weights"] / mixture.weights[2].numpy()).mean()
    assert ratio < 1e-5
    volume = row["covariances"].reshape(9, 9) / mixture.covariances[2].numpy().reshape(9, 9)
    np.testing.assert_allclose(volume, volume[0, 0], rtol=1e-3)


@pytest.mark.parametrize("least", [201, 700, 3000])
def test_a_reduction_is_the_same_beside_a_larger_shape_wherever_it_lies(least):
    values = splats(200)
    content = ply(values | {axis: values[axis] + 50 for axis in "xyz"})

    def reduced(filled: int) -> Mixture:
        row = prepare_splats(content, "a.ply", {"normalize": False}, filled)
        return reduce_mixtures(Mixture(*(torch.from_numpy(row[name])[None] for name in Mixture._fields)), 32, ["a"])

    alone, beside = reduced(0), reduced(least)
    points = alone.positions
    torch.testing.assert_close(evaluate(beside, points), evaluate(alone, points), rtol=1e-3, atol=1e-5)
    assert (beside.weights > 0).sum() == 32


def test_a_larger_one_of_another_class_makes_none_larger(folder, tmp_path):
    (folder / "bowl/train").mkdir(parents=True)
    (folder / "bowl/train/a.ply").write_bytes(ply(splats(30)))
    settings = {"kind": "splats", "path": str(folder), "classes": ["cup"]}
    sample("cups", settings=settings, downloads=None, output=tmp_path / "cups.safetensors")
    assert load_tensors(tmp_path / "cups.safetensors")[0]["weights"].shape == (3, 9)


def test_files_without_a_class_are_training_objects_of_one(tmp_path):
    for name in ("a.ply", "b.ply"):
        (tmp_path / name).write_bytes(ply(splats(2)))
    (tmp_path / "a.ply.json").write_text("{}")
    settings = {"kind": "splats", "files": [{"name": "a.ply"}, {"name": "b.ply"}]}
    with pytest.raises(InputError, match=r"has no test object; .* set `parts: \[train\]`"):
        sample("s", settings=settings, downloads=tmp_path, output=tmp_path / "s.safetensors")
    settings["parts"] = ["train"]
    sample("s", settings=settings, downloads=tmp_path, output=tmp_path / "s.safetensors")
    assert load_tensors(tmp_path / "s.safetensors")[1]["class_names"] == ["splats"]


def test_a_zip_is_the_same_as_its_folder(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        for file in folder.rglob("*.ply"):
            archive.write(file, file.relative_to(folder))
    for path in ("mine", "mine.zip"):
        settings = {"kind": "splats", "path": str(tmp_path / path)}
        sample("cups", settings=settings, downloads=None, output=tmp_path / f"{path}.safetensors")
    one, two = (load_tensors(tmp_path / f"{path}.safetensors") for path in ("mine", "mine.zip"))
    assert one[0].keys() == two[0].keys()
    assert all(torch.equal(one[0][key], two[0][key]) for key in one[0])
    assert one[1]["names"] == two[1]["names"]


@pytest.mark.parametrize("scale", [-20.0, -25.0, -80.0])
def test_tiny_splats_can_be_reduced(tmp_path, scale):
    values = splats(20)
    for axis in range(3):
        values[f"scale_{axis}"][3] = scale
    (tmp_path / "a.ply").write_bytes(ply(values))
    settings = {"kind": "splats", "path": str(tmp_path), "parts": ["train"], "normalize": True}
    sample("s", settings=settings, downloads=None, output=tmp_path / "s.safetensors")
    tensors, _ = load_tensors(tmp_path / "s.safetensors")
    assert reduce_treehem(Mixture(*(tensors[name] for name in Mixture._fields)), 8).weights.isfinite().all()


@pytest.mark.parametrize("normalize", [True, False])
def test_splats_without_weight_are_bad_objects(tmp_path, normalize):
    (tmp_path / "a.ply").write_bytes(ply(splats(5, opacity=np.full(5, -800.0))))
    values = splats(2, opacity=np.full(2, -30.0), **{f"scale_{axis}": np.full(2, -36.0) for axis in range(3)})
    values |= {axis: 1e-5 * values[axis] for axis in "xyz"}  # so small that float32 has no weights for it
    (tmp_path / "b.ply").write_bytes(ply(values))
    settings = {"kind": "splats", "path": str(tmp_path), "parts": ["train"], "normalize": normalize}
    expected = r"1 of 2 .*'a' \(the weights of .*a\.ply are all zero" if normalize else "2 of 2 .*all its weights are 0"
    with pytest.raises(InputError, match=expected):
        sample("s", settings=settings, downloads=None, output=tmp_path / "s.safetensors")


@pytest.mark.parametrize("order", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_orders_and_elements_before_the_vertices(order):
    values = splats(5)
    before = "element camera 2\nproperty uchar id\nproperty uchar kind\n"
    extra = b"1 2\n3 4\n" if order == "ascii" else b"\1\2\3\4"
    vertices = read_vertices(ply(values, order, before, extra), "a.ply", PROPERTIES)
    np.testing.assert_allclose(vertices["rot_3"], values["rot_3"], rtol=1e-6)


def test_a_header_that_promises_too_much_does_not_enlarge_the_others(tmp_path):
    (tmp_path / "a.ply").write_bytes(ply(splats(3)))
    for order in ("ascii", "binary_little_endian"):
        path = tmp_path / f"{order}.ply"
        path.write_bytes(ply(splats(3), order).replace(b"vertex 3", b"vertex 30000000000"))
        assert count_vertices(path.read_bytes(), path.stat().st_size) < 50
    settings = {"kind": "splats", "path": str(tmp_path), "bad_objects": "skip", "parts": ["train"]}
    sample("s", settings=settings, downloads=None, output=tmp_path / "s.safetensors")
    assert load_tensors(tmp_path / "s.safetensors")[1]["names"] == ["a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.ply is no .ply file"),
        (b"ply\nformat ascii 1.0\n", "a.ply is no .ply file: .*does not end"),
        (b"ply\nformat ternary 1.0\nend_header\n", "the header of a.ply is not understood"),
        (
            b"ply\nformat binary_big_endian 1.0\nelement f 1\nproperty list char int v\nelement vertex 1\nend_header\n",
            r"a\.ply ends after 0 of 1 rows of 'f'",
        ),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n", "lack y, z, opacity"),
        (ply(splats(3))[:-1], "a.ply ends after 2 of 3 vertices; is it truncated"),
        (ply(splats(0)), "a.ply holds no Gaussians"),
        (ply(splats(3, opacity=np.array([0, np.nan, 0]))), "a.ply: opacity of Gaussian 1 is not finite"),
        (ply(splats(2, **{f"rot_{i}": np.array([1.0, 0.0]) for i in range(4)})), "rotation of Gaussian 1 is zero"),
        (ply(splats(2, scale_1=np.array([0.0, 800.0]))), "Gaussian 1 is zero or its scale is far too large"),
    ],
)
def test_malformed(content, message):
    with pytest.raises(InputError, match=message):
        parse_splats(content, "a.ply")


def test_infinite_opacities_and_scales_of_zero_mean_something():
    values = splats(4, opacity=np.array([np.inf, -np.inf, 0.0, 0.0]), scale_1=np.array([-2.0, -2.0, -np.inf, -2.0]))
    finite = splats(4, opacity=np.array([800.0, -800.0, 0.0, 0.0]), scale_1=np.array([-2.0, -2.0, -800.0, -2.0]))
    row, wanted = parse_splats(ply(values), "a.ply"), parse_splats(ply(finite), "a.ply")
    assert row["weights"][1] == 0
    for name in row:
        np.testing.assert_array_equal(row[name], wanted[name])
    with pytest.raises(InputError, match="scale_0 of Gaussian 2 is not finite"):
        parse_splats(ply(splats(3, scale_0=np.array([0, 0, np.inf]))), "a.ply")


def test_flat_splats_lack_a_scale_and_are_thin():
    values = splats(6)
    flat = {name: column for name, column in values.items() if name != "scale_2"}
    row, wanted = (parse_splats(ply(v), "a.ply") for v in (flat, values | {"scale_2": np.full(6, -80.0)}))
    for name in row:
        np.testing.assert_array_equal(row[name], wanted[name])
    spread = np.sqrt(np.linalg.eigvalsh(row["covariances"]))
    np.testing.assert_allclose(spread[:, 0], 1e-3 * spread[:, 2], rtol=1e-3)


def test_splats_that_are_not_finite_are_left_out_and_counted(folder, tmp_path):
    whole = parse_splats((path := folder / "cup/train/cup_2.ply").read_bytes(), "a.ply")
    values = splats(9, 9)
    with_bad = {name: np.insert(column, [2, 9], np.nan) for name, column in values.items()}
    path.write_bytes(ply(with_bad))
    with pytest.raises(InputError, match=r"x of Gaussian 2 is not finite; `drop_not_finite: true`"):
        parse_splats(path.read_bytes(), "a.ply")
    row = parse_splats(path.read_bytes(), "a.ply", drop_not_finite=True)
    for name in row:
        np.testing.assert_array_equal(row[name], whole[name])
    settings = {"kind": "splats", "path": str(folder), "drop_not_finite": True}
    sample("cups", settings=settings, downloads=None, output=tmp_path / "cups.safetensors")
    tensors, metadata = load_tensors(tmp_path / "cups.safetensors")
    assert metadata["dropped"] == {"cup_2": 2}
    assert (tensors["weights"] > 0).sum(-1).tolist() == [3, 5, 9]
    with pytest.raises(InputError, match="holds no Gaussians"):
        parse_splats(ply(splats(2, x=np.full(2, np.nan))), "a.ply", drop_not_finite=True)


def test_packed_splats_say_what_to_do(tmp_path, caplog):
    settings = {"kind": "splats", "path": str(tmp_path), "parts": ["train"]}
    (tmp_path / "a.spz").write_bytes(b"")
    with pytest.raises(InputError, match=r"holds, no .ply file; write it as .ply that is not compressed"):
        sample("s", settings=settings, downloads=None, output=tmp_path / "s.safetensors")
    (tmp_path / "a.ply").write_bytes(ply(splats(2)))
    sample("s", settings=settings, downloads=None, output=tmp_path / "s.safetensors")
    assert "1 files of packed splats are left out (a.spz ...); write it as" in caplog.text
    with pytest.raises(InputError, match=r"a\.ply holds compressed splats; write it as"):
        parse_splats(ply({"packed_position": np.zeros(2)}), "a.ply")
