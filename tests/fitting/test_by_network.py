"""The fit by a network that was trained on the same points."""

from __future__ import annotations

import functools

import pytest
import torch

from gmcn.artifacts import load_tensors
from gmcn.data import sample
from gmcn.errors import InputError
from gmcn.fitting import adapt, fit
from gmcn.fitting.gmm.by_network import fit_by_network
from gmcn.models import PointGMM


@pytest.fixture(scope="module")
def network():
    return PointGMM(latent=8, width=8, splits=1, encoder=[8, 16], seed=0).eval()


def fit_by(network):
    return functools.partial(fit_by_network, lambda clouds: network(clouds).levels)


def test_a_level_of_the_network_moved_to_the_points_and_its_floor(network):
    clouds = 0.3 * torch.randn(70, 60, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = adapt(network(clouds).levels[0], clouds, iterations=3).mixture()
    found = fit_by(network)(clouds, 8, em_steps=3, covariance_floor=1e-3)
    torch.testing.assert_close(found.weights, wanted.weights)
    torch.testing.assert_close(found.positions, wanted.positions)
    side = (clouds.amax(1) - clouds.amin(1)).amax(-1)
    floor = 1e-3 * side.square()[:, None, None] * torch.ones(8, 3)
    torch.testing.assert_close(
        (found.covariances - wanted.covariances).diagonal(dim1=-2, dim2=-1), floor, atol=1e-6, rtol=1e-3
    )
    alone = fit_by(network)(clouds, 32, em_steps=0)
    with torch.no_grad():
        torch.testing.assert_close(alone.positions, network(clouds).leaves().means)


def test_moving_raises_the_likelihood(tmp_path, points, network):
    found = {}
    for steps in (0, 10):
        settings = {"method": "pointgmm", "variant": "any", "components": 32, "em_steps": steps}
        output = tmp_path / f"{steps}.safetensors"
        fit(points, settings=settings, output=output, dataset="solids10", name="hgmm", by_network=fit_by(network))
        tensors, metadata = load_tensors(output)
        assert tensors["weights"].shape == (30, 32)
        torch.testing.assert_close(tensors["weights"].sum(-1), torch.ones(30))
        found[steps] = metadata["quality"]["log_likelihood_test"]
    assert found[10] > found[0] + 0.5


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"components": 16}, "8, 32 Gaussians, not of the 16"),
        ({"components": 8, "init": "random"}, "init"),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path, points, network, settings, words):
    settings = {"method": "pointgmm", "variant": "any", **settings}
    with pytest.raises(InputError, match=words):
        fit(points, settings=settings, output=tmp_path / "m", dataset="solids10", name="h", by_network=fit_by(network))


def test_a_network_belongs_to_the_method_and_to_points(tmp_path, points, network):
    where = {"output": tmp_path / "m", "dataset": "solids10", "name": "h"}
    own = {"method": "pointgmm", "variant": "any", "components": 8}
    with pytest.raises(InputError, match="a network is what `method: pointgmm` needs"):
        fit(points, settings=own, **where)
    with pytest.raises(InputError, match="a network is for `method: pointgmm` alone"):
        fit(points, settings={"components": 8}, by_network=fit_by(network), **where)
    images = tmp_path / "images.safetensors"
    sample("digits", settings={"kind": "digits"}, downloads=None, output=images)
    with pytest.raises(InputError, match="takes points, and the data set holds images"):
        fit(images, settings=own, by_network=fit_by(network), **where)
    assert not (tmp_path / "m").exists()
