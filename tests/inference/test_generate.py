"""New objects of a density: the same for a seed, of a class, like a given image, with its missing part drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import gmcn
import gmcn.training
from gmcn import cli
from gmcn.artifacts import load_tensors, read_metadata, save_tensors
from gmcn.data.objects import TEST, TRAIN, read_split
from gmcn.errors import InputError
from gmcn.inference.generating import Generated
from gmcn.inference.writing import write


@pytest.fixture(scope="module")
def digits(density):
    """Test images by class."""
    data = read_split(density.points, TEST)
    return {label: data.inputs[data.labels == label] for label in range(10)}


@pytest.fixture
def images(digits, tmp_path):
    """Files of the first two test images of a three."""
    for index in range(2):
        Image.fromarray(digits[3][index].numpy()).save(tmp_path / f"three{index}.png")
    return [tmp_path / f"three{index}.png" for index in range(2)]


def run(*arguments) -> int:
    return cli.main(["generate", *map(str, arguments), "--device", "cpu"])


def test_the_same_seed_draws_the_same_samples(density):
    first, again, other = (gmcn.generate(density.model, 230, seed, device="cpu") for seed in (1, 1, 2))
    assert first.samples.shape == (230, 8, 8)
    assert torch.equal(first.samples, again.samples)
    assert not torch.equal(first.samples, other.samples)
    assert len(gmcn.generate(density.model, device="cpu").samples) == 100
    trained = read_split(density.points, TRAIN)
    expected = trained.inputs[trained.labels < 5].float().mean(0)
    torch.testing.assert_close(first.samples.mean(0), expected, atol=2, rtol=0)


def test_samples_of_a_class_are_classified_as_it(density):
    names = read_metadata(density.model)["class_names"]
    for name in ("0", "3"):
        samples = gmcn.generate(density.model, 60, class_name=name, device="cpu").samples
        # By another method: the nearest training image.
        trained = read_split(density.points, TRAIN)
        nearest = torch.cdist(samples.flatten(1), trained.inputs.flatten(1).float()).argmin(1)
        found = [names[place] for place in trained.labels[nearest].tolist()]
        assert found.count(name) > 50


def test_variants_resemble_their_objects(density, images, digits):
    found = gmcn.generate(density.model, 20, like=images, device="cpu")
    assert found.samples.shape == (40, 8, 8)
    assert found.names == ["three0", "three1"]
    assert torch.equal(found.objects, digits[3][:2].float())
    near, far = (
        torch.cdist(found.samples.flatten(1), other.flatten(1).float()).min(1).values.mean()
        for other in (digits[3], digits[0])
    )
    assert near < far
    [one] = gmcn.generate(density.model, like=images[0], device="cpu").samples
    assert one.shape == (8, 8)


@pytest.mark.parametrize("way", ["left", "right", "top", "bottom", "mask"])
def test_what_is_kept_stays_and_the_rest_is_drawn(density, images, digits, way, tmp_path):
    mask = np.zeros((8, 8), dtype=np.uint8)
    half = {"left": np.s_[:, :4], "right": np.s_[:, 4:], "top": np.s_[:4], "bottom": np.s_[4:], "mask": np.s_[2:5, 1:]}
    mask[half[way]] = 255
    keep = way
    if way == "mask":
        Image.fromarray(mask).save(keep := tmp_path / "mask.png")
    found = gmcn.generate(density.model, 30, like=images, keep=keep, device="cpu").samples
    own, known = digits[3][:2].float().repeat_interleave(30, 0), torch.from_numpy(mask > 0)
    assert torch.equal(found[:, known], own[:, known])
    assert (found[:, ~known] != own[:, ~known]).any(1).all()
    # What is drawn fits better than the same places of digits that are no three.
    wrong = torch.where(known, own, digits[0][:1].float())
    network = gmcn.load(density.model)
    with torch.no_grad():
        assert network(found).median() > network(wrong).median()


def test_an_image_of_another_size_is_scaled_on_demand_and_its_mask_too(density, images, tmp_path):
    for name in (images[0], mask := tmp_path / "mask.png"):
        Image.fromarray(np.eye(16, dtype=np.uint8) * 16).save(name)
    with pytest.raises(InputError, match="has 16 x 16 pixels"):
        gmcn.generate(density.model, like=images[0], device="cpu")
    with pytest.raises(InputError, match=r"mask\.png has 16 x 16 pixels, but the images have 8 x 8; crop it"):
        gmcn.generate(density.model, like=images[1], keep=mask, device="cpu")
    assert len(gmcn.generate(density.model, like=images, keep=mask, resize=True, device="cpu").samples) == 2


def test_a_picture_shows_whole_pixels_and_is_the_same_again(density, tmp_path, capsys):
    for name in ("a.png", "b.png"):
        assert run(density.model, "--count", 10, "--seed", 3, "--output", tmp_path / name) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert capsys.readouterr().out.splitlines()[0] == f"{tmp_path / 'a.png'}: 10 samples of {density.model}"
    shown = np.asarray(Image.open(tmp_path / "a.png"))
    side = 720 // 36  # four columns of 8 pixels and a line
    assert shown.shape == (3 * 9 * side, 36 * side)
    small = shown[::side, ::side]
    assert np.array_equal(small.repeat(side, 0).repeat(side, 1), shown)
    sample = gmcn.generate(density.model, 10, 3, device="cpu").samples[1].numpy()
    assert np.array_equal(small[:8, 9:17], (sample.clip(0, 16) / 16 * 255).round().astype(np.uint8))
    assert (small[18:, 18:] == 255).all()  # where there is no sample


def test_a_picture_of_variants_begins_with_their_objects(density, images, digits, tmp_path):
    output = tmp_path / "variants.png"
    assert run(density.model, "--like", *images, "--count", 3, "--keep", "left", "--output", output) == 0
    shown = np.asarray(Image.open(output))[:: 720 // 36, :: 720 // 36]
    assert shown.shape == (18, 36)
    for index in range(2):
        row = shown[9 * index : 9 * index + 8]
        assert np.array_equal(row[:, :8], (digits[3][index].numpy() / 16 * 255).round().astype(np.uint8))
        assert np.array_equal(row[:, 9:13], row[:, :4])
    assert run(density.model, "--like", *images * 8, "--output", output) == 0  # pairs side by side
    assert Image.open(output).size[0] == 54 * (720 // 54)


def test_a_folder_of_images_is_read_again(density, tmp_path):
    folder = tmp_path / "images"
    assert run(density.model, "--count", 12, "--output", f"{folder}/") == 0
    samples = gmcn.generate(density.model, 12, device="cpu").samples.clip(0, 16).round()
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [f"{index:02d}_sample.png" for index in range(12)]
    assert np.array_equal(np.stack([np.asarray(Image.open(file)) for file in files]), samples.numpy())
    with torch.no_grad():
        expected = gmcn.load(density.model)(samples).tolist()
    found = [entry.answer["log_likelihood"] for entry in gmcn.predict(density.model, folder, device="cpu")]
    assert found == pytest.approx(expected, rel=1e-5)


def test_arrays_hold_the_samples_as_they_are(density, images, tmp_path):
    for suffix in ("npy", "safetensors"):
        arguments = (density.model, "--like", *images, "--count", 2, "--output", tmp_path / f"a.{suffix}")
        assert run(*arguments) == 0
    samples = gmcn.generate(density.model, 2, like=images, device="cpu").samples
    assert np.array_equal(np.load(tmp_path / "a.npy"), samples.numpy())
    found = read_split(tmp_path / "a.safetensors", TRAIN)
    assert torch.equal(found.inputs, samples)
    assert found.names == ["0_three0", "1_three0", "2_three1", "3_three1"]
    assert found.metadata["generated"]["like"] == [str(image) for image in images]
    assert len(gmcn.predict(density.model, tmp_path / "a.safetensors", device="cpu")) == 4


def test_values_that_no_png_holds_are_written_as_arrays(tmp_path):
    samples = torch.tensor([[[0.0, 70000.0], [100000.0, 65536.0]]])
    write(f"{tmp_path}/drawn/", Generated(samples, None, [], 100000.0), {})
    [file] = (tmp_path / "drawn").iterdir()
    assert torch.equal(torch.from_numpy(np.load(file)), samples[0])


@pytest.mark.parametrize(("largest", "suffix"), [(1.0, ".npy"), (255.0, ".png"), (4095.0, ".png")])
def test_files_of_other_ranges_keep_their_values(density, tmp_path, largest, suffix):
    tensors, metadata = load_tensors(density.model)
    metadata["network"]["largest"] = largest
    save_tensors(tmp_path / "model.safetensors", tensors, metadata)
    assert run(tmp_path / "model.safetensors", "--count", 3, "--output", f"{tmp_path}/drawn/") == 0
    files = sorted((tmp_path / "drawn").iterdir())
    assert [file.suffix for file in files] == [suffix] * 3
    samples = gmcn.generate(tmp_path / "model.safetensors", 3, device="cpu").samples
    samples = samples if suffix == ".npy" else samples.clip(0, largest).round()
    with torch.no_grad():
        expected = gmcn.load(tmp_path / "model.safetensors")(samples).tolist()
    found = gmcn.predict(tmp_path / "model.safetensors", tmp_path / "drawn", device="cpu")
    assert [entry.answer["log_likelihood"] for entry in found] == pytest.approx(expected, rel=1e-5)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """A density of vectors without labels."""
    folder = tmp_path_factory.mktemp("vectors")
    drawn = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    save_tensors(folder / "v.safetensors", {"vectors": drawn, "split": torch.zeros(60).byte()}, {"dataset": "toy"})
    network = {"kind": "gmm", "components": 2, "largest": 1.0}
    training = {"optimizer": "em", "epochs": 2, "validation_fraction": 0}
    settings = {"task": "density", "network": network, "training": training}
    gmcn.training.train(folder / "v.safetensors", settings=settings, seed=0, output=folder, device="cpu", threads=1)
    return folder


def test_vectors_are_drawn_varied_and_written_as_arrays(vectors, tmp_path, capsys):
    assert run(vectors, "--count", 5, "--output", tmp_path / "v.safetensors") == 0
    assert read_split(tmp_path / "v.safetensors", TRAIN).inputs.shape == (5, 3)
    assert gmcn.generate(vectors, like=tmp_path / "v.safetensors", device="cpu").samples.shape == (5, 3)
    for output in (tmp_path / "v.png", tmp_path):
        assert run(vectors, "--output", output) == 2
        assert f"cannot write {output}: vectors have no pictures; write .npy or" in capsys.readouterr().err
    with pytest.raises(InputError, match="keep is for images, and this network was trained on vectors"):
        gmcn.generate(vectors, like=tmp_path / "v.safetensors", keep="left", device="cpu")
    with pytest.raises(InputError, match=r"unknown class 'a' \(known: none\)"):
        gmcn.generate(vectors, class_name="a", device="cpu")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"count": 0}, "count is 0, but must be at least 1"),
        ({"count": 10**9}, r"1,000,000,000 samples of 64 numbers take too much memory; ask for at most 16,777,216"),
        ({"seed": -1}, "the seed is -1, but must be at least 0"),
        ({"keep": "left"}, "keep is for variants of images: give these with like"),
        ({"like": "a.png", "class_name": "3"}, "leave out one of them"),
        ({"resize": True}, "resize is for given images: give these with like"),
        ({"invert": True}, "invert is for given images: give these with like"),
        ({"level": 1}, "level is for variants of images: give these with like"),
        ({"class_name": "three"}, r"unknown class 'three' \(known: 0, 1, 2"),
        ({"class_name": "7"}, "was trained on no object of the class '7'"),
        ({"top": 0}, "top is 0, but must be at least 1"),
        ({"sharpen": -1}, "sharpen is -1, but must be at least 0"),
        ({"divisor": 0.0}, "the divisor of standard deviations is 0.0, but must be above 0"),
        ({"divisor": float("nan")}, "the divisor of standard deviations is nan"),
        ({"top": 3}, "GMM draws its samples as they are, without top"),
        ({"like": "a.png"}, "a.png does not exist"),
        ({"like": "IMAGE", "keep": "half"}, "keep is 'half', but must be left, right, top, bottom or an image"),
        ({"like": "IMAGE", "keep": "BLACK"}, "keeps nothing of the images; leave it out"),
        ({"like": "IMAGE", "keep": "WHITE"}, "keeps all of the images; leave it out"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(density, images, options, part, tmp_path):
    values = {"BLACK": 0, "WHITE": 9}
    for name, value in values.items():
        Image.fromarray(np.full((8, 8), value, dtype=np.uint8)).save(tmp_path / f"{name}.png")
    files = {name: tmp_path / f"{name}.png" for name in values} | {"IMAGE": images[0]}
    options = {key: files.get(value, value) for key, value in options.items()}
    with pytest.raises(InputError, match=part):
        gmcn.generate(density.model, device="cpu", **options)


def test_other_networks_and_formats_are_one_sentence(density, tmp_path, capsys):
    assert run("digits_treehem2", "--output", tmp_path / "a.png") == 2
    assert "is a network for classification, which has nothing to draw from; generate takes" in capsys.readouterr().err
    assert run(density.model, "--output", tmp_path / "a.jpg") == 2
    assert "must end in one of .png, .npy, .safetensors, .ply, .html, or in / for a folder" in capsys.readouterr().err
    tensors, metadata = load_tensors(density.model)
    del metadata["trained"]
    save_tensors(tmp_path / "model.safetensors", tensors, metadata)
    assert run(tmp_path / "model.safetensors", "--class", "3", "--output", tmp_path / "a.png") == 2
    assert "does not say which classes its components have; train it again, with labels" in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("trained", "part"),
    [
        (["classes"], "does not say well which classes its components have"),
        ({"classes": [["a"]], "shares": [1]}, "does not say well which classes its components have"),
        ({"classes": [[1.0], [1.0]], "shares": [1, 1, 1]}, "does not say well which classes"),
        ({"classes": [[1.0]] * 99, "shares": [0.0] * 98 + [1.0]}, "cannot draw these samples"),
        ({"classes": [[-1.0]] * 15, "shares": [1.0] * 15}, "cannot draw these samples"),
    ],
)
def test_a_damaged_read_out_is_one_sentence(density, tmp_path, trained, part):
    tensors, metadata = load_tensors(density.model)
    save_tensors(tmp_path / "model.safetensors", tensors, {**metadata, "trained": trained})
    with pytest.raises(InputError, match=part):
        gmcn.generate(tmp_path / "model.safetensors", class_name="0", device="cpu")
