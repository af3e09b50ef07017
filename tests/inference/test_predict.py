"""Files are classified as the evaluation stage classifies the objects in them."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import gmcn
from gmcn import cli
from gmcn.artifacts import load_tensors, read_metadata
from gmcn.data import sample
from gmcn.data.augmentation import Augmentation, augment
from gmcn.data.off import parse_off
from gmcn.data.views import Views, view
from gmcn.errors import InputError
from gmcn.fitting import fit_points
from gmcn.inference.listing import table, write
from gmcn.inference.predicting import Prediction
from gmcn.inference.reading import Reader
from gmcn.models.loading import model_path
from gmcn.training import train
from gmcn.training.datamodule import generator_of
from tests.data.files import write_off
from tests.inference.conftest import CLOUD


def expected(made, model=None) -> dict[str, torch.Tensor]:
    """Probabilities of all objects of a mixtures artifact by name, straight from the network."""
    tensors, metadata = load_tensors(made.mixtures)
    mixture = gmcn.Mixture(*(tensors[field] for field in gmcn.Mixture._fields))
    with torch.no_grad():
        probabilities = gmcn.load(model or made.model)(mixture).double().softmax(-1)
    return dict(zip(metadata["names"], probabilities, strict=True))


def close(predictions, wanted: dict[str, torch.Tensor], name_of) -> None:
    assert predictions
    for prediction in predictions:
        found = torch.tensor(list(prediction.probabilities.values()))
        torch.testing.assert_close(found.double(), wanted[name_of(prediction)], atol=1e-5, rtol=1e-4)


def test_meshes_of_the_data_set_are_classified_as_the_evaluation_did(solids):
    found = gmcn.predict(solids.model, solids.folder)
    assert len(found) == 60
    close(found, expected(solids), lambda prediction: Path(prediction.file).stem)
    classes = {Path(entry.file).stem: entry.class_name for entry in found}
    assert {name: classes[name] for name in solids.test} == solids.test


def test_every_way_to_name_the_network_is_the_same_one(solids):
    mesh = next(solids.folder.rglob("*_test_*.off"))
    ways = [solids.result, solids.runs, solids.model.parent, solids.model]
    found = [gmcn.predict(way, mesh) for way in ways]
    assert all(entry == found[0] for entry in found)
    assert gmcn.predict(solids.result, mesh, seed=4) != found[0]


def test_a_copy_of_a_seed_is_no_seed(solids, tmp_path):
    shutil.copytree(solids.model.parent, tmp_path / "seed7")
    shutil.copytree(solids.model.parent, tmp_path / "seed1-old")
    assert model_path(tmp_path) == tmp_path / "seed7" / "model.safetensors"


def test_a_name_that_is_no_text_is_written(marks, images, tmp_path, capsys):
    image = os.fsencode(tmp_path) + b"/b\xff.npy"
    with open(image, "wb") as file:
        np.save(file, images.values[0].numpy())
    assert cli.main(["predict", str(marks), os.fsdecode(image), "--output", str(tmp_path / "p.csv")]) == 0
    assert "b\ufffd.npy" in (tmp_path / "p.csv").read_text(encoding="utf-8")
    assert "b\ufffd.npy" in capsys.readouterr().out


def test_names_of_objects_and_classes_that_are_no_text_are_made_text(tmp_path):
    cloud = np.random.default_rng(0).normal(size=(40, 3))
    whole = os.fsdecode(os.fsencode(tmp_path / "mine") + b"/Gr\xe9")
    for part in ("train", "test"):
        for name in (b"x0", b"Gr\xe9", b"Gr\xe8"):
            Path(whole, part).mkdir(parents=True, exist_ok=True)
            np.save(os.fsdecode(os.fsencode(f"{whole}/{part}/") + name + b".npy"), cloud)
    points, settings = tmp_path / "points.safetensors", {"kind": "clouds", "path": str(tmp_path / "mine"), "points": 40}
    sample("p", settings=settings, downloads=None, output=points)
    metadata = read_metadata(points)
    assert metadata["class_names"] == ["Gr\\udce9"]
    assert sorted(metadata["names"]) == ["Gr\\udce8", "Gr\\udce8", "Gr\\udce9", "Gr\\udce9", "x0", "x0"]
    prediction = Prediction("a.npy", "Gr\udce9", {"class": "cup"})  # of an artifact made before
    assert "Gr\ufffd" in table([prediction])
    write(tmp_path / "p.csv", [prediction], model="m")
    assert (tmp_path / "p.csv").read_text(encoding="utf-8") == "file,name,class\na.npy,Gr\ufffd,cup\n"


def test_a_link_to_a_file_is_sampled_as_a_file_in_its_place(solids, tmp_path):
    source = next(solids.folder.rglob("*.off"))
    blob, link, copy = (tmp_path / path for path in ("pool/blob", "a/cup/train/x0.off", "b/cup/train/x0.off"))
    for path in (blob, link, copy):
        path.parent.mkdir(parents=True)
    shutil.copy(source, blob)
    shutil.copy(source, copy)
    link.symlink_to(blob)
    reader = Reader(read_metadata(solids.model)["inputs"])
    [(_, one)], [(_, other)] = reader.read(link), reader.read(copy)
    assert all(torch.equal(first, second) for first, second in zip(one, other, strict=True))


def test_clouds_that_training_takes_are_taken(solids, tmp_path):
    behind = np.concatenate([CLOUD[None, :96], np.full((1, 4, 3), np.nan)], 1)
    np.savez(tmp_path / "behind.npz", points=behind)
    np.savez(tmp_path / "own.npz", points=CLOUD[None, :96])
    np.save(tmp_path / "few.npy", np.tile(CLOUD[:3], (40, 1)))  # fewer different points than Gaussians
    found, expected, few = (
        gmcn.predict(solids.model, tmp_path / name)[0] for name in ("behind.npz", "own.npz", "few.npy")
    )
    assert found.probabilities == expected.probabilities
    assert sum(few.probabilities.values()) == pytest.approx(1)


def test_a_class_may_be_called_as_a_column(tmp_path):
    answer = {"class": "name", "probability": 0.9, "probabilities": {"name": 0.9, "class": 0.06, "cup": 0.04}}
    write(tmp_path / "p.csv", [Prediction("a.png", "one", answer)], model="m")
    [row] = csv.DictReader((tmp_path / "p.csv").open(encoding="utf-8"))
    assert list(row) == ["file", "name", "class", "probability", "probabilities.name", "probabilities.class", "cup"]
    assert list(row.values()) == ["a.png", "one", "name", "0.9", "0.9", "0.06", "0.04"]


def test_clouds_are_not_resized(solids):
    with pytest.raises(InputError, match="only images can be resized"):
        gmcn.predict(solids.model, next(solids.folder.rglob("*.off")), resize=True)


def test_artifacts_are_classified_as_the_evaluation_did(solids, images, marks):
    for made, model in ((solids, solids.model), (images, marks)):
        for artifact in (made.mixtures, made.points):
            found = gmcn.predict(model, artifact)
            close(found, expected(made, model), lambda prediction: prediction.name)
            classes = {entry.name: entry.class_name for entry in found}
            assert {name: classes[name] for name in made.test} == made.test


def test_clouds_of_every_format_are_one_cloud(solids, tmp_path):
    tensors, metadata = load_tensors(solids.points)
    row = metadata["names"].index(name := next(iter(solids.test)))
    points = tensors["points"][row].numpy()
    # Cloud and mesh networks take each other's files; these points are in their frame already.
    np.save(tmp_path / "a.npy", points)
    np.savetxt(tmp_path / "b.xyz", points, fmt="%.9g")
    np.savetxt(tmp_path / "c.txt", points, fmt="%.9g", delimiter=",")
    np.savez(tmp_path / "d.npz", points=points)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz") + "end_header\n"
    (tmp_path / "e.ply").write_bytes(header.encode() + points.astype("<f4").tobytes())
    found = gmcn.predict(solids.model, tmp_path)
    assert [Path(entry.file).name[0] for entry in found] == list("abcde")
    close(found, expected(solids), lambda _: name)
    assert {entry.class_name for entry in found} == {solids.test[name]}


def test_a_cloud_of_an_npz_is_prepared_as_one_of_an_npy(solids, tmp_path):
    cloud = np.random.default_rng(0).normal(size=(500, 6))
    np.save(tmp_path / "a.npy", cloud)
    np.savez(tmp_path / "a.npz", points=cloud, colours=cloud)
    one, two = gmcn.predict(solids.model, [tmp_path / "a.npy", tmp_path / "a.npz"])
    assert one.probabilities == two.probabilities


def test_several_clouds_of_an_npz(solids, tmp_path):
    tensors, metadata = load_tensors(solids.points)
    points = tensors["points"][:3].numpy()
    np.savez(tmp_path / "named.npz", points=points, name=np.array(metadata["names"][:3]))
    close(gmcn.predict(solids.model, tmp_path / "named.npz"), expected(solids), lambda entry: entry.name)
    np.savez(tmp_path / "bare.npz", points)
    assert [entry.name for entry in gmcn.predict(solids.model, tmp_path / "bare.npz")] == ["0", "1", "2"]


def test_meshes_of_every_format(solids, tmp_path):
    import trimesh

    vertices, triangles = parse_off((solids.folder / "torus/test/torus_test_0000.off").read_bytes(), "torus")
    write_off(tmp_path / "a.off", vertices, triangles)
    for suffix in ("obj", "ply", "stl"):
        trimesh.Trimesh(vertices, triangles, process=False).export(tmp_path / f"a.{suffix}")
    found = gmcn.predict(solids.model, tmp_path)
    assert [Path(entry.file).suffix for entry in found] == [".obj", ".off", ".ply", ".stl"]
    first = torch.tensor(list(found[0].probabilities.values()))
    for entry in found:
        torch.testing.assert_close(torch.tensor(list(entry.probabilities.values())), first, atol=0.02, rtol=0)


def test_images_of_every_format(images, marks, tmp_path):
    from PIL import Image

    # The first image of its data set is fitted from the same random numbers as a file of its own.
    values = images.values[0].numpy()
    np.save(tmp_path / "a.npy", values)
    np.save(tmp_path / "b.npy", values.astype(np.float64) / 255)
    Image.fromarray(values).save(tmp_path / "c.pgm")
    Image.fromarray(values).save(tmp_path / "d.png")
    Image.fromarray(values).convert("RGB").save(tmp_path / "e.png")
    found = gmcn.predict(marks, tmp_path)
    assert len(found) == 5
    close(found, expected(images, marks), lambda _: "image-0")


def test_images_of_another_size_are_scaled_on_demand_only(images, marks, tmp_path):
    np.save(tmp_path / "a.npy", images.values[1].numpy().repeat(3, 0).repeat(3, 1))
    with pytest.raises(InputError, match=r"a.npy has 18 x 24 pixels, but this network was trained on 6 x 8; .*--res"):
        gmcn.predict(marks, tmp_path / "a.npy")
    (found,) = gmcn.predict(marks, tmp_path / "a.npy", resize=True)
    assert found.class_name == gmcn.predict(marks, images.mixtures)[1].class_name


def test_a_prediction_depends_on_its_file_alone(solids, tmp_path):
    paths = sorted(solids.folder.rglob("*_test_*.off"))
    together = gmcn.predict(solids.model, paths)
    close(gmcn.predict(solids.model, paths[::-1]), expected(solids), lambda entry: Path(entry.file).stem)
    assert gmcn.predict(solids.model, paths) == together
    elsewhere = shutil.copytree(paths[0].parent, tmp_path / paths[0].parts[-3] / "test")
    (moved,) = gmcn.predict(solids.model, elsewhere)
    torch.testing.assert_close(moved.probability, together[0].probability, atol=1e-5, rtol=0)


def test_the_command_prints_a_table_and_writes_all_probabilities(solids, tmp_path, capsys):
    meshes = sorted(map(str, solids.folder.rglob("*_test_*.off")))
    arguments = ["predict", str(solids.model), *meshes, "--top", "3", "--device", "cpu"]
    assert cli.main([*arguments, "--output", str(tmp_path / "a.json")]) == 0
    assert cli.main([*arguments, "--output", str(tmp_path / "a.csv")]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    head, first, *_ = printed.out.splitlines()
    assert head.split() == ["file", "class", "probability", "runner-up"]
    found = gmcn.predict(solids.model, meshes)
    (best, share), second, third = found[0].top(3)
    words = [meshes[0], best, f"{share:.3f}", second[0], f"{second[1]:.3f},", third[0], f"{third[1]:.3f}"]
    assert first.split() == words
    written = json.loads((tmp_path / "a.json").read_text())
    assert [row["probabilities"] for row in written["predictions"]] == [entry.probabilities for entry in found]
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert [row["class"] for row in rows] == [entry.class_name for entry in found]
    assert float(rows[0]["torus"]) == found[0].probabilities["torus"]


def test_files_that_cannot_be_read_are_named_and_the_others_go_on(solids, tmp_path, capsys):
    good = next(solids.folder.rglob("*.off"))
    (tmp_path / "bad.off").write_text("OFF\n3 1 0\n0 0 0\n")
    arguments = ["predict", str(solids.model), str(tmp_path / "bad.off"), str(tmp_path / "gone.stl"), str(good)]
    assert cli.main([*arguments, "--output", str(tmp_path / "a.json")]) == 2
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()] == ["file", str(good)]
    damaged, missing, last = printed.err.splitlines()
    assert damaged.startswith(f"{tmp_path}/bad.off, line 2")
    assert missing == f"{tmp_path}/gone.stl does not exist"
    assert last == "gmcn: error: 2 of the inputs could not be used, for the reasons above"
    assert len(json.loads((tmp_path / "a.json").read_text())["refused"]) == 2


def test_clouds_of_a_network_whose_mixtures_another_one_makes(tmp_path):
    """The classifier's file does not hold that other network."""
    np.save(tmp_path / "cloud.npy", np.random.default_rng(0).normal(size=(40, 3)))
    fit = {"method": "pointgmm", "variant": "clouds", "components": 8}
    reader = Reader({"data": {"points": 40}, "fit": fit})
    with pytest.raises(InputError, match=r"cloud.npy has no mixture yet: .* make them with `gmcn fit --model`"):
        list(reader.read(tmp_path / "cloud.npy"))


def test_votes_are_the_mean_over_variations_as_in_training(solids, tmp_path):
    """Clouds are fitted anew, to other points and from another start; the same votes for the same file."""
    training = {"epochs": 1, "batch_size": 8, "views": {"points": 60}, "augmentation": {"scaling": [0.5, 2]}}
    settings = {"network": {"layers": [[2, 4]], "kernel_components": 3}, "training": training}
    train(solids.mixtures, settings=settings, points=solids.points, seed=0, output=tmp_path, device="cpu", threads=1)
    tensors, metadata = load_tensors(solids.points)
    cloud, fit = tensors["points"][:1], read_metadata(solids.mixtures)["settings"]
    network = gmcn.load(tmp_path / "model.safetensors")
    total = torch.zeros(1, len(metadata["class_names"]), dtype=torch.float64)
    options = {key: value for key, value in fit.items() if key not in ("components", "seed")}
    for vote in range(3):
        generator = generator_of(0, vote, 0)
        seen = view(cloud, Views(points=60), generator)
        start = int(torch.randint(1 << 31, (), generator=generator))
        mixture = fit_points(seen, fit["components"], seed=start, **options)
        with torch.no_grad():
            total += network(augment(mixture, Augmentation(scaling=(0.5, 2)), generator)).double().softmax(1)
    first, *others = gmcn.predict(tmp_path, solids.points, votes=3)
    torch.testing.assert_close(torch.tensor(list(first.probabilities.values())).double(), total[0] / 3)
    assert len(others) == 59
    np.save(tmp_path / "cloud.npy", cloud[0].numpy())
    answers = [gmcn.predict(tmp_path, tmp_path / "cloud.npy", votes=votes)[0].probabilities for votes in (2, 2, 3)]
    assert answers[0] == answers[1] != answers[2]
    with pytest.raises(InputError, match="holds mixtures, and votes are cast on new fits; give its points"):
        gmcn.predict(tmp_path, solids.mixtures, votes=3)
    assert cli.main(["predict", str(tmp_path), str(tmp_path / "cloud.npy"), "--votes", "2"]) == 0


def test_votes_need_what_varies(marks, images, tmp_path):
    with pytest.raises(InputError, match=r"votes are cast on new fits of points, and this network .* on images"):
        gmcn.predict(marks, images.points, votes=2)
    with pytest.raises(InputError, match="votes is 0, but must be from 1 to 1,000"):
        gmcn.predict(marks, images.points, votes=0)
    with pytest.raises(InputError, match="is a network for density, which has no votes"):
        gmcn.predict("mnist_dcgmm-3la", images.points, votes=2)
