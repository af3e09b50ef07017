"""The figures of Gaussian mixture layers, on scikit-learn's digits."""

from __future__ import annotations

import json
import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn import functional

from gmcn.artifacts import save_tensors, write_json
from gmcn.config import MEASURED
from gmcn.errors import InputError
from gmcn.nn import GaussianMixtureLayer
from gmcn.papers.gm_layers.dynamics import compare, mean_field
from gmcn.papers.gm_layers.figures import LayerSettings, draw
from gmcn.papers.gm_layers.training import evaluated, read_vectors, train

SMALL = {
    "dataset": "digits",
    "epochs": 1,
    "batch_size": 50,
    "components": [2, 5],
    "seeds": [0, 1],
    "particles": 40,
    "largest": 1000,
    "draws": 4,
    "objects": 50,
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """600 of them, the last 200 for testing."""
    loaded = load_digits()
    tensors = {
        "images": torch.from_numpy(loaded.images[:600]).float(),
        "labels": torch.from_numpy(loaded.target[:600]),
        "split": (torch.arange(600) >= 400).to(torch.uint8),
    }
    path = tmp_path_factory.mktemp("points") / "digits.safetensors"
    save_tensors(path, tensors, {"dataset": "digits", "class_names": list("0123456789")})
    return path


@pytest.mark.parametrize("name", sorted(MEASURED.keys() - {"gmlayer-cost"}))  # times are never the same
def test_figures_are_written_with_their_numbers_and_twice_the_same(digits, tmp_path, name):
    written = draw(name, points=digits, settings=SMALL, output=tmp_path / name)
    assert [path.name for path in written] == [f"{name}.png", f"{name}.svg", f"{name}.json"]
    assert written[0].read_bytes().startswith(b"\x89PNG")
    before = [path.read_bytes() for path in written[:2]]
    numbers = json.loads(written[2].read_text())
    draw(name, points=digits, settings=SMALL, output=tmp_path / name)
    assert [path.read_bytes() for path in written[:2]] == before
    assert {**json.loads(written[2].read_text()), "provenance": 0} == {**numbers, "provenance": 0}
    assert numbers["settings"]["particles"] == 40


def test_the_error_of_networks_is_the_one_known_in_advance(digits, tmp_path):
    settings = SMALL | {"draws": 40, "objects": 100}
    path = draw("gmlayer-sampling", points=digits, settings=settings, output=tmp_path / "x")[2]
    found = json.loads(path.read_text())
    assert found["neurons"] == [100, 316, 1000]
    assert -0.55 < found["slope"] < -0.45
    for observed, predicted, errors in zip(found["observed"], found["predicted"], found["errors"], strict=True):
        assert len(errors) == 40
        assert observed == pytest.approx(predicted, rel=0.1)


def test_every_start_has_three_ways(digits, tmp_path):
    kernel = tmp_path / "digits_ntk.json"
    write_json(kernel, {"rival": "ntk", "metrics": {"accuracy": {"mean": 0.97, "std": None}}})
    arguments = {"points": digits, "settings": SMALL, "output": tmp_path / "x"}
    found = json.loads(draw("gmlayer-dynamics", kernels=[kernel], **arguments)[2].read_text())
    assert found["kernels"] == {"ntk": 0.97}
    assert [(run["covariance"], run["components"], run["seed"]) for run in found["runs"]] == [
        (family, count, seed) for family in ("diagonal", "low-rank") for count in (2, 5) for seed in (0, 1)
    ]
    assert all(len(run[way]) == 2 for run in found["runs"] for way in ("mixture", "sampled", "particles"))
    write_json(kernel, {"metrics": {}})
    with pytest.raises(InputError, match=r"digits_ntk.json is no result of a kernel"):
        draw("gmlayer-dynamics", kernels=[kernel], **arguments)


def test_free_neurons_learn_more_than_a_diagonal_mixture(digits):
    settings = LayerSettings(epochs=10, batch_size=20, learning_rate=0.2, particles=1000)
    found = compare(read_vectors(digits), "diagonal", 2, settings, 0)
    assert found["particles"][0]["accuracy"] == pytest.approx(found["sampled"][0]["accuracy"], abs=0.1)
    assert found["particles"][-1]["accuracy"] > 0.8
    assert found["mixture"][-1]["accuracy"] < found["particles"][-1]["accuracy"] - 0.1


def test_a_step_of_free_neurons_is_the_mean_field_flow():
    """dw = -h ∇_w U, dv = -h ∇_v U, for U(w, v) = E g·v s(w·x)."""
    generator = torch.Generator().manual_seed(0)
    layer = GaussianMixtureLayer(4, 3, 2, "diagonal", generator=generator)
    network = layer.to_mlp(7, generator).double()
    inputs, labels = torch.randn(20, 4, dtype=torch.float64), torch.randint(3, (20,))
    optimizer = mean_field(network, 0.1)
    neurons = torch.cat((network[0].weight, network[0].bias[:, None], 7 * network[2].weight.mT), 1).detach()
    outputs = network(inputs)
    loss = functional.cross_entropy(outputs, labels)
    (gradients,) = torch.autograd.grad(loss, outputs, retain_graph=True)
    free = neurons.clone().requires_grad_()
    answers = (inputs @ free[:, :4].mT + free[:, 4]).relu()
    (slope,) = torch.autograd.grad((answers * (gradients @ free[:, 5:].mT)).sum(), free)
    loss.backward()
    optimizer.step()
    moved = torch.cat((network[0].weight, network[0].bias[:, None], 7 * network[2].weight.mT), 1).detach()
    torch.testing.assert_close(moved, neurons - 0.1 * slope)


def test_batches_depend_on_the_seed_alone(digits):
    data = read_vectors(digits)

    def trained(seed):
        layer = GaussianMixtureLayer(64, 10, 3, generator=torch.Generator().manual_seed(0))
        torch.rand(seed)  # other draws do not matter
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        return train(layer, optimizer, data, epochs=2, batch_size=30, seed=seed, after=lambda: evaluated(layer, data))

    first = trained(1)
    assert len(first) == 3
    assert first == trained(1)
    assert first != trained(2)
    assert all(math.isfinite(found["loss"]) for found in first)


def test_other_data_and_names_are_one_sentence(digits, tmp_path, variant):
    with pytest.raises(InputError, match="unknown figure 'gmlayer-sample'; did you mean 'gmlayer-sampling'"):
        draw("gmlayer-sample", points=digits, output=tmp_path / "x")
    with pytest.raises(InputError, match="gm_layers: unknown key 'epoch'; did you mean 'epochs'"):
        draw("gmlayer-sampling", points=digits, settings={"epoch": 1}, output=tmp_path / "x")
    with pytest.raises(InputError, match="holds no labelled images or vectors, of which this figure is made"):
        draw("gmlayer-sampling", points=variant.mixtures, output=tmp_path / "x")
