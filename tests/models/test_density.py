"""What a density draws and says besides its value: of chosen components, variants, the missing parts of objects."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gmcn.errors import InputError
from gmcn.models import GMM, Density

FAMILIES = ("low-rank", "diagonal", "spherical", "full")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def apart(covariance: str = "diagonal", shape=(2, 3), distance: float = 10.0) -> GMM:
    """Components whose means are far from each other, at 0, 10, 20 ... in each value, times 16."""
    network = GMM(list(shape), components=3, covariance=covariance, rank=2, largest=16.0, seed=0)
    with torch.no_grad():
        network.means.copy_(distance * torch.arange(3.0)[:, None].expand_as(network.means))
    return network


@pytest.mark.parametrize("covariance", FAMILIES)
def test_samples_of_components_are_theirs(covariance):
    network, wanted = apart(covariance), torch.tensor([2, 0, 1, 1, 0])
    samples = network.sample(5, generator(), components=wanted)
    assert samples.shape == (5, 2, 3)
    assert torch.equal(network.assign(samples), wanted)
    assert torch.equal(samples, network.sample(5, generator(), components=wanted))
    many = network.sample(4000, generator(1), components=torch.full((4000,), 1)).flatten(1) / 16
    mixture = network.mixture
    torch.testing.assert_close(many.mean(0), mixture.means[1].detach(), atol=0.06, rtol=0)
    torch.testing.assert_close(many.T.cov(), mixture.covariance.dense()[1].detach(), atol=0.1, rtol=0.1)


def test_a_component_of_weight_zero_can_be_asked_for():
    network = apart()
    network.logits.data[1] = -torch.inf
    samples = network.sample(3, generator(), components=torch.ones(3).long())
    assert (samples / 16 - 10).abs().max() < 5


def test_responsibilities_are_those_of_the_mixture_and_the_largest_is_assigned():
    network = GMM([4], components=7, largest=2.0, seed=0)
    x = torch.rand(1203, 4, generator=generator())
    with torch.no_grad():
        expected = network.mixture.responsibilities(x / 2)
        torch.testing.assert_close(network.responsibilities(x), expected)
    assert torch.equal(network.assign(x), expected.argmax(-1))
    assert network.assign(x).dtype == torch.long


def test_a_variant_is_a_draw_from_the_components_of_its_object():
    network, x = apart(), apart().sample(200, generator())
    variants = network.like(x, generator(1))
    assert variants.shape == x.shape
    assert torch.equal(network.assign(variants), network.assign(x))
    assert (variants - x).abs().min() > 0
    assert torch.equal(variants, network.like(x, generator(1)))
    between = torch.full((2000, 2, 3), 5 * 16.0)  # as much of the first component as of the second
    share = (network.like(between, generator()).flatten(1).mean(1) > 5 * 16).double().mean()
    assert share == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("covariance", FAMILIES)
def test_what_is_missing_is_drawn_from_the_exact_conditional(covariance):
    network = GMM([2, 2], components=3, covariance=covariance, rank=2, largest=16.0, seed=3)
    keep = torch.tensor([[True, False], [False, True]])
    x = torch.tensor([[4.0, 0.0], [9.0, 12.0]]).expand(20000, 2, 2)
    filled = network.fill(x, keep, generator())
    assert torch.equal(filled[:, keep], x[:, keep])
    assert torch.equal(filled, network.fill(x, keep, generator()))
    with torch.no_grad():
        mean, spread = network.mixture.conditional([0, 3], torch.tensor([4.0, 12.0]) / 16).moments()
    drawn = filled[:, ~keep] / 16
    torch.testing.assert_close(drawn.mean(0), mean, atol=0.02, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), spread, atol=0.02, rtol=0.05)


def test_all_kept_is_the_object_and_nothing_kept_a_sample():
    network, x = apart(), torch.rand(9, 2, 3, generator=generator())
    assert torch.equal(network.fill(x, torch.ones(2, 3).bool(), generator()), x)
    nothing = torch.zeros(2, 3).bool()
    assert torch.equal(network.fill(x, nothing, generator(5)), network.sample(9, generator(5)))


def test_a_flat_mixture_is_one_layer_with_one_position():
    network, x = GMM([6], components=3, largest=1.0, seed=0), torch.rand(5, 6, generator=generator())
    [layer] = network.layers(x)
    assert layer.keys() == {"name", "log_likelihood", "bound"}
    torch.testing.assert_close(layer["log_likelihood"], network(x)[:, None, None])
    torch.testing.assert_close(layer["bound"], network.mixture.component_log_prob(x).amax(-1)[:, None, None])
    assert network.about_layers() == []


class Plain(Density):
    """A density without components."""

    takes = ("vectors",)

    def __init__(self, shape: list[int]) -> None:
        super().__init__()

    def forward(self, inputs: Tensor) -> Tensor:
        return -inputs.square().sum(-1)


class Copies(Plain):
    """One component whose every draw is -1."""

    def responsibilities(self, inputs: Tensor) -> Tensor:
        return inputs.new_ones(len(inputs), 1)

    def sample(self, n, generator, *, components=None, **how) -> Tensor:
        assert components.tolist() == [0] * n
        return torch.full((n, 2), -1.0)


def test_the_base_class_puts_the_known_part_back():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    filled = Copies([2]).fill(x, torch.tensor([False, True]), generator())
    assert filled.tolist() == [[-1, 2], [-1, 4]]


@pytest.mark.parametrize(
    ("ask", "part"),
    [
        (lambda: Plain([2]).assign(torch.zeros(3, 2)), "Plain has no components of which objects could be"),
        (lambda: Plain([2]).like(torch.zeros(3, 2), generator()), "Plain has no components"),
        (lambda: apart().sample(2, generator(), top=3, divisor=2.0), "GMM draws its .* without divisor, top"),
        (lambda: apart().like(torch.zeros(1, 2, 3), generator(), sharpen=3), "without sharpen"),
        (lambda: apart().fill(torch.zeros(1, 2, 3), torch.zeros(2, 3), generator(), top=3), "without top"),
        (lambda: apart().responsibilities(torch.zeros(1, 3, 2)), r"the input is \[1, 3, 2\]; this network takes"),
    ],
)
def test_what_a_density_cannot_is_one_sentence(ask, part):
    with pytest.raises(InputError, match=part):
        ask()
    assert (Plain([2]).centres(), Plain([2]).dead(), Plain([2]).layers(torch.zeros(1, 2))) == (None, None, [])
