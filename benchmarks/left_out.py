"""Which density finds outliers best, judged without any test object: each trained class is left out once.

The task: of the classes that a variant is trained on, one is left out, the network is trained on four fifths of the
others' training objects, and finds the objects of that class among the last fifth. The area under the ROC curve is 1
for a density that finds all, 0.5 by chance: by what the variant judges by (`judged_by`), and by the likelihood alone.
The nearest neighbour sees the same objects.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from common import arguments, progress, report, save

from gmcn.artifacts import save_tensors
from gmcn.config import load, resolve
from gmcn.data import sample
from gmcn.data.objects import TEST, TRAIN, ObjectSet, places_of, read_split
from gmcn.models.loading import load as load_network
from gmcn.results.outliers import nearest_neighbour
from gmcn.tasks.density.measures import log_likelihoods, outliers
from gmcn.training import train


def without(data: ObjectSet, known: list[int], left: int, most: int, path: Path) -> None:
    """An artifact of these classes' objects, a fifth of which, with those of ``left``, is its test split."""
    assert data.labels is not None
    generator = torch.Generator().manual_seed(left)
    chosen, split = [], []
    for place in [*known, left]:
        members = (data.labels == place).nonzero().squeeze(1)
        members = members[torch.randperm(len(members), generator=generator)][:most]
        tested = torch.arange(len(members)) < (len(members) if place == left else len(members) // 5)
        chosen.append(members)
        split.append(torch.where(tested, TEST, TRAIN))
    indices = torch.cat(chosen)
    tensors = {data.kind: data.inputs[indices], "labels": data.labels[indices], "split": torch.cat(split)}
    save_tensors(path, tensors, {**data.metadata, "names": [data.names[index] for index in indices.tolist()]})


def row_of(network: dict[str, Any] | None, path: Path, known: list[int], options: Any) -> dict[str, Any]:
    """What a network's settings (None: the nearest neighbour) find in an artifact, and in how many seconds."""
    train_set, test = read_split(path, TRAIN), read_split(path, TEST)
    if network is None:
        values, new = (data.inputs.flatten(1).float().numpy() for data in (train_set, test))
        return {"auc": outliers(torch.from_numpy(nearest_neighbour(values).scores(new)), test, known)["auc"]}
    network = {**network, "training": {**network["training"], "classes": known}}
    folder = path.with_name("trained")
    found = train(path, settings=network, seed=0, output=folder, device=options.device, threads=options.threads)
    model: Any = load_network(folder / "model.safetensors", device=options.device)
    said, judged = (log_likelihoods(judge, test.inputs, options.device) for judge in (model, model.typicality))
    return {
        "auc": outliers(-judged, test, known)["auc"],
        "auc, by likelihood": outliers(-said, test, known)["auc"],
        "log-likelihood": said.mean().item(),
        "s": found["seconds"],
    }


def main() -> None:
    options = arguments(
        __doc__,
        ("--points", {"help": "what `gmcn sample` made of the data set"}),
        ("--variants", {"nargs": "+", "default": ["dcgmm-2lc"], "help": "densities of the configuration"}),
        ("--most", {"type": int, "default": 2500, "help": "objects of each class at most (default: 2500)"}),
    )
    rows: list[dict[str, Any]] = []
    config = load("config.yaml")
    with tempfile.TemporaryDirectory() as name:
        if options.smoke:
            options.points, options.most = Path(name) / "digits.safetensors", 40
            sample("digits", settings={"kind": "digits", "test_fraction": 0.5}, downloads=None, output=options.points)
        data = read_split(options.points, TRAIN)
        dataset = data.metadata["dataset"]
        for variant in [None, *options.variants]:
            name_of = variant or "nearest neighbour"
            settings = resolve(config, dataset, variant or options.variants[0])
            classes = places_of(settings["training"]["classes"], data.class_names)
            for left in classes[:1] if options.smoke else classes:
                progress(f"left out: {name_of} on {dataset}, without class {left}")
                known = [place for place in classes if place != left]
                with tempfile.TemporaryDirectory() as folder:
                    path = Path(folder) / "points.safetensors"
                    without(data, known, left, options.most, path)
                    own = {key: settings[key] for key in ("network", "training", "task")}
                    row = row_of(own if variant else None, path, known, options)
                rows.append({"data set": dataset, "density": name_of, "left out": left, **row})
                save("left_out", __doc__, rows, options)
            these = [row for row in rows if row["density"] == name_of]
            means = {name: statistics.fmean(row[name] for row in these) for name in these[0] if name.startswith("auc")}
            rows.append({"data set": dataset, "density": name_of, "left out": "mean", **means})
    report("left_out", __doc__, rows, options)


if __name__ == "__main__":
    main()
