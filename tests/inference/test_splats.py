"""Gaussian splats are classified straight from their files, as their data set was prepared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gmcn
from gmcn import data, fitting
from gmcn.artifacts import read_metadata
from gmcn.errors import InputError
from gmcn.training import train
from tests.data.files import ply
from tests.data.test_splats import splats
from tests.inference.conftest import NETWORK, TRAINING


@pytest.mark.parametrize("fitted", [True, False])
def test_a_network_of_splats_classifies_the_files_that_it_was_trained_on(tmp_path, fitted):
    for part, name, count in (("train", "a", 30), ("train", "b", 40), ("test", "c", 12), ("train", "d", 20)):
        values = splats(count, count, opacity=np.append(np.full(count - 1, 2.0), np.nan))
        path = tmp_path / "mine" / ("cup" if name in "ac" else "shoe") / part / f"{name}.ply"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(ply(values))
    settings = {"kind": "splats", "path": str(tmp_path / "mine"), "normalize": True, "drop_not_finite": True}
    points, mixtures = tmp_path / "points.safetensors", tmp_path / "mixtures.safetensors"
    data.sample("s", settings=settings, downloads=None, output=points)
    assert read_metadata(points)["dropped"] == dict.fromkeys("abcd", 1)
    fit = {"method": "treehem", "components": 16}
    fitting.fit(points, settings=fit, output=mixtures, dataset="s", name="fit")
    trained, other = (mixtures, points) if fitted else (points, mixtures)
    chosen = {"network": NETWORK, "training": {**TRAINING, "epochs": 1, "batch_size": 2}, "seeds": [0]}
    chosen["fit"] = "fit" if fitted else None
    train(trained, settings=chosen, seed=0, output=tmp_path / "run", device="cpu", threads=1, points=points)
    model = tmp_path / "run/model.safetensors"
    wanted = {entry.name: entry for entry in gmcn.predict(model, trained)}
    with pytest.raises(InputError, match="was made with"):
        gmcn.predict(model, other)
    found = gmcn.predict(model, tmp_path / "mine")
    assert sorted(Path(entry.file).stem for entry in found) == sorted(wanted) == list("abcd")
    for entry in found:
        expected = list(wanted[Path(entry.file).stem].probabilities.values())
        np.testing.assert_allclose(list(entry.probabilities.values()), expected, atol=1e-4)
    (tmp_path / "packed.ply").write_bytes(ply({"packed_position": np.zeros(3)}))
    with pytest.raises(InputError, match="holds compressed splats; write it as"):
        gmcn.predict(model, tmp_path / "packed.ply")
    with pytest.raises(InputError, match=r"trained on mixtures \(.ply, .safetensors\); write it as .ply that is not"):
        gmcn.predict(model, tmp_path / "a.spz")
