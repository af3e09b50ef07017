"""Classify your own meshes: mesh files -> points -> Gaussian mixtures -> a small network -> classes, and a picture.

    python examples/own_meshes.py                          # on meshes that it generates
    python examples/own_meshes.py ~/scans --output results/scans

The meshes (.off, .obj, .ply or .stl) lie in folders by class and split: <class>/<train or test>/<name>.off.
To train for real, make the folder a data set of the workflow instead: docs/data.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import gmcn
from gmcn.data import sample
from gmcn.data.solids import make_mesh
from gmcn.fitting import fit
from gmcn.pictures.show import show
from gmcn.training import train

SAMPLE = {"kind": "meshes", "points": 512, "sampling": "uniform", "normalize": True}
FIT = {"method": "kmeans", "components": 16}
TRAIN = {
    "network": {"layers": [[8, 8]], "kernel_components": 5, "reduction": "treehem2"},
    "training": {"epochs": 12, "batch_size": 12, "learning_rate": 1e-2, "validation_fraction": 0.1},
}


def generate(folder: Path, classes: tuple[str, ...] = ("torus", "box", "cone"), seed: int = 0) -> None:
    """Write 20 training and 4 test meshes of each class as .off files."""
    rng = np.random.default_rng(seed)
    for name in classes:
        for number in range(24):
            vertices, triangles = make_mesh(name, rng)
            file = folder / name / ("train" if number < 20 else "test") / f"{name}{number:02d}.off"
            file.parent.mkdir(parents=True, exist_ok=True)
            with open(file, "w") as off:
                off.write(f"OFF\n{len(vertices)} {len(triangles)} 0\n")
                np.savetxt(off, vertices, fmt="%.6f")
                np.savetxt(off, np.insert(triangles, 0, 3, axis=1), fmt="%d")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train a small network on your own meshes and classify them.")
    parser.add_argument("meshes", nargs="?", type=Path, help="folder of meshes (default: generated)")
    parser.add_argument("--output", type=Path, default=Path("results/own_meshes"), help="where to write")
    parser.add_argument("--model", help="classify with this network, for example modelnet10_small, and train none")
    options = parser.parse_args(arguments)
    output, folder = options.output, options.meshes
    if folder is None:
        folder = output / "meshes"
        generate(folder)
        print(f"generated meshes: {folder}")

    points, mixtures, model = output / "points.safetensors", output / "mixtures.safetensors", options.model
    # Every step is a stage of the workflow, called as a function. Each writes its file whole or not at all.
    sample("mine", settings={**SAMPLE, "path": str(folder)}, downloads=None, output=points)
    print(f"points on the surfaces: {points}")
    fit(points, settings=FIT, output=mixtures, dataset="mine", name="kmeans16")
    print(f"16 Gaussians for each mesh: {mixtures}")
    if model is None:
        said = train(mixtures, settings=TRAIN, seed=0, output=output / "run", points=points, device="cpu")
        model = output / "run/model.safetensors"
        print(f"a network of {said['parameters']:,} parameters: {model}")

    for prediction in gmcn.predict(model, sorted(folder.glob("*/test/*"))):
        print(f"{Path(prediction.file).name:16} {prediction.class_name:12} {prediction.probability:.2f}")
    print(f"the first mesh and its Gaussians: {show(mixtures, points=points, output=output / 'first.png')}")


if __name__ == "__main__":
    main()
