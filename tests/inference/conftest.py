"""Two tiny trained networks, one of meshes and one of images, with everything that their results are made of."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gmcn import data, fitting
from gmcn.artifacts import read_json, save_tensors
from gmcn.inference import export
from gmcn.results import evaluate, footprint, probe, summarise
from gmcn.training import train
from tests.data.files import write_meshes

TRAINING = {"epochs": 6, "batch_size": 8, "learning_rate": 0.02, "validation_fraction": 0.1, "checkpoint_minutes": 0}
CLOUD = np.random.default_rng(0).normal(size=(200, 3))
NETWORK = {"layers": [[2, 4]], "kernel_components": 3}


def make_result(results: Path, dataset: str, points: Path, fit: dict, *, described: bool = True) -> SimpleNamespace:
    """Fit, train two seeds, measure and summarise, as the workflow does; ``described``: networks know their inputs."""
    runs = results / f"runs/{dataset}_tiny"
    mixtures = results / f"mixtures/{dataset}_fit.safetensors"
    fitting.fit(points, settings=fit, output=mixtures, dataset=dataset, name="fit")
    settings = {"network": NETWORK, "training": TRAINING, "seeds": [3, 4], "fit": "fit"}
    folders = [runs / f"seed{seed}" for seed in settings["seeds"]]
    for seed, folder in zip(settings["seeds"], folders, strict=True):
        source = {"points": points} if described else {}
        train(mixtures, settings=settings, seed=seed, output=folder, device="cpu", threads=1, **source)
    models = {"models": [folder / "model.safetensors" for folder in folders], "device": "cpu"}
    parts = {part: runs / f"{part}.json" for part in ("evaluation", "rmse", "footprint")}
    evaluate(mixtures, output=parts["evaluation"], **models)
    probe(mixtures, output=parts["rmse"], settings={"positions": 100, "shapes": 2}, **models)
    footprint(mixtures, output=parts["footprint"], settings=settings, **models)
    summarise(
        dataset=dataset,
        variant="tiny",
        settings=settings,
        points=points,
        artifact=mixtures,
        training=[folder / "training.json" for folder in folders],
        output=(output := results / f"{dataset}_tiny.json"),
        evaluation=parts["evaluation"],
        measures={part: parts[part] for part in ("rmse", "footprint")},
    )
    return SimpleNamespace(
        result=output, model=models["models"][0], mixtures=mixtures, points=points, runs=runs, test=evaluated(parts)
    )


def evaluated(parts: dict[str, Path]) -> dict[str, str]:
    """The classes that the evaluation stage found for the test objects, by name, of the first seed."""
    evaluation = read_json(parts["evaluation"])
    found = next(iter(evaluation["seeds"].values()))["predictions"]
    return dict(zip(evaluation["names"], (evaluation["class_names"][label] for label in found), strict=True))


@pytest.fixture(scope="session")
def solids(tmp_path_factory) -> SimpleNamespace:
    """A result of ten classes of meshes in ``folder``, whose input fit draws nothing at random."""
    torch.set_num_threads(1)
    results = tmp_path_factory.mktemp("solids")
    folder = results / "meshes"
    write_meshes(folder, {"train_per_class": 5, "test_per_class": 1, "seed": 1})
    points = results / "points/shapes.safetensors"
    settings = {"kind": "meshes", "path": str(folder), "points": 96, "sampling": "uniform", "normalize": True}
    data.sample("shapes", settings={**settings, "seed": 1}, downloads=None, output=points)
    made = make_result(results, "shapes", points, {"method": "fps", "components": 8, "covariance_floor": 1e-3})
    made.folder = folder
    return made


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> SimpleNamespace:
    """A result of 8 x 6 images of bars and crosses; its networks do not say how their inputs are prepared."""
    torch.set_num_threads(1)
    results = tmp_path_factory.mktemp("images")
    count, generator = 24, torch.Generator().manual_seed(0)
    values = torch.randint(0, 30, (count, 8, 6), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % 2
    values[:, 3:5] += 200
    values[labels == 1, :, 2:4] = 200
    split = (torch.arange(count) >= 16).to(torch.uint8)
    names = [f"image-{index}" for index in range(count)]
    points = results / "points/marks.safetensors"
    metadata = {"dataset": "marks", "names": names, "class_names": ["bar", "cross"], "settings": {"kind": "images"}}
    save_tensors(points, {"images": values, "labels": labels, "split": split}, metadata)
    fit = {"method": "kmeans", "components": 4, "covariance_floor": 1e-3, "seed": 0}
    made = make_result(results, "marks", points, fit, described=False)
    made.values = values
    return made


@pytest.fixture(scope="session")
def marks(images, tmp_path_factory) -> Path:
    """The network of images, whose inputs only the export describes."""
    folder = tmp_path_factory.mktemp("pretrained") / "marks"
    export(images.result, folder)
    return folder


@pytest.fixture(scope="session")
def density(tmp_path_factory) -> SimpleNamespace:
    """A mixture of scikit-learn's digits 0 to 4 in ``model``, and the artifact of all ten in ``points``."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("density")
    points = folder / "points/digits.safetensors"
    data.sample("digits", settings={"kind": "digits"}, downloads=None, output=points)
    training = {"optimizer": "em", "epochs": 8, "classes": [0, 1, 2, 3, 4], "validation_fraction": 0.1}
    network = {"kind": "gmm", "components": 15, "covariance": "low-rank", "rank": 3, "largest": 16.0}
    settings = {"task": "density", "network": network, "training": training}
    train(points, settings=settings, seed=0, output=folder / "run", device="cpu", threads=1)
    return SimpleNamespace(model=folder / "run/model.safetensors", points=points)


@pytest.fixture(scope="session")
def generator(tmp_path_factory) -> SimpleNamespace:
    """A network of trees of mixtures, shortly trained on ``clouds``: boxes of different sizes, .xyz in ``folder``."""
    torch.set_num_threads(1)
    results = tmp_path_factory.mktemp("generator")
    random = torch.Generator().manual_seed(0)
    sizes = 0.2 + torch.rand(40, 1, 3, generator=random)
    clouds = sizes * (torch.rand(40, 80, 3, generator=random) - 0.5)
    for place, cloud in enumerate(clouds):
        folder = results / "clouds" / "box" / ("test" if place < 10 else "train")
        folder.mkdir(parents=True, exist_ok=True)
        np.savetxt(folder / f"box{place}.xyz", cloud.numpy())
    points = results / "points/boxes.safetensors"
    settings = {"kind": "clouds", "path": str(results / "clouds"), "points": 80}
    data.sample("boxes", settings=settings, downloads=None, output=points)
    network = {"kind": "pointgmm", "latent": 6, "width": 16, "splits": 1, "encoder": [8, 16], "kl_weight": 0.01}
    training = {"epochs": 30, "batch_size": 10, "learning_rate": 0.01, "views": {"points": 40}, "gradient_clip": 10}
    run = results / "runs/boxes_tiny/seed0"
    whole = {"task": "generation", "fit": None, "network": network, "training": training}
    train(points, settings=whole, seed=0, output=run, device="cpu", threads=1, points=points)
    folder = results / "clouds/box/test"
    return SimpleNamespace(model=run / "model.safetensors", points=points, folder=folder, clouds=clouds)
