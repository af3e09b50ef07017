"""The draws of an augmentation: each setting by itself, uniform rotations, expected shares, repeatable numbers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gmcn.data.augmentation import Augmentation, augment, axis_rotations, centre_and_deviation, drop, uniform_rotations
from gmcn.mixture import Mixture
from tests.data.test_augmentation import assert_close, generator, random_mixture, seeds

EVERYTHING = Augmentation("any", 180.0, (0.5, 2.0), 0.3, (0,), 0.2)


def test_each_setting_changes_what_it_says_and_nothing_else():
    mixture = random_mixture((200, 6), 3)
    centre, deviation = centre_and_deviation(mixture)

    def linear(**setting):
        result = augment(mixture, Augmentation(**setting), generator())
        moved = centre_and_deviation(result)[0]
        relative = mixture.positions - centre[:, None], result.positions - moved[:, None]
        return torch.linalg.lstsq(*relative).solution.mT, (moved - centre) / deviation[:, None]

    identity = torch.eye(3, dtype=torch.float64).expand(200, 3, 3)
    turned, still = linear(rotation="axis", rotation_degrees=30)
    torch.testing.assert_close(turned[:, 2], identity[:, 2])
    angles = torch.atan2(turned[:, 1, 0], turned[:, 0, 0]).rad2deg()
    assert angles.abs().max() <= 30
    assert angles.min() < -27
    assert angles.max() > 27
    assert still.abs().max() < 1e-12
    stretched, _ = linear(scaling=(0.5, 2.0))
    factors = stretched.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(stretched, torch.diag_embed(factors))
    # Uniform in the logarithm: mean 0, variance a third of log(2)²; 600 draws.
    assert factors.log2().mean().abs() < 5 / math.sqrt(3 * 600)
    assert factors.log2().square().mean() == pytest.approx(1 / 3, abs=0.07)
    unturned, steps = linear(translation=0.5)
    torch.testing.assert_close(unturned, identity)
    assert 0.45 < steps.abs().max() <= 0.5
    mirrored, _ = linear(reflection=(0, 2))
    signs = mirrored.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(mirrored, torch.diag_embed(signs.sign()))
    assert (signs[:, 1] > 0).all()
    assert (signs < 0).double().mean(0)[[0, 2]].tolist() == pytest.approx([0.5, 0.5], abs=5 * 0.5 / math.sqrt(200))
    # What one setting draws does not depend on the others.
    together, steps_together = linear(rotation="axis", rotation_degrees=30, translation=0.5, reflection=(0, 2))
    torch.testing.assert_close(together, turned @ mirrored)
    torch.testing.assert_close(steps_together, steps)


def test_uniform_rotations_are_rotations_and_uniform():
    count = 20000
    matrices = uniform_rotations(torch.rand(count, 3, generator=generator(), dtype=torch.float64))
    identity = torch.eye(3, dtype=torch.float64).expand(count, 3, 3)
    torch.testing.assert_close(matrices @ matrices.mT, identity, rtol=0, atol=1e-14)
    torch.testing.assert_close(matrices.det(), torch.ones(count, dtype=torch.float64), rtol=0, atol=1e-14)
    # An entry is uniform on [-1, 1]: mean 0, variance 1/3; its square has mean 1/3 and variance 4/45. Five sigma.
    assert matrices.mean(0).abs().max() < 5 * math.sqrt(1 / 3 / count)
    assert (matrices.square().mean(0) - 1 / 3).abs().max() < 5 * math.sqrt(4 / 45 / count)
    # The trace is 1 + 2 cos(angle), of mean 0 and variance 1; and a fixed rotation on top changes nothing.
    traces = (matrices @ axis_rotations(torch.tensor(1.0, dtype=torch.float64), 3)).diagonal(dim1=1, dim2=2).sum(1)
    assert traces.mean().abs() < 5 / math.sqrt(count)
    assert traces.square().mean() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("rotation", ["axis", "any"])
def test_rotations_in_the_plane_are_uniform(rotation):
    # Two components on the x axis: the direction from one to the other is the rotation's first column.
    count = 20000
    positions = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64).expand(count, 2, 2)
    mixture = Mixture(torch.ones(count, 2).double(), positions, torch.eye(2).double().expand(count, 2, 2, 2))
    turned = augment(mixture, Augmentation(rotation), generator()).positions[:, 1]
    torch.testing.assert_close(turned.norm(dim=1), torch.ones(count, dtype=torch.float64))
    assert turned.mean(0).abs().max() < 5 * math.sqrt(1 / 2 / count)
    assert (turned.square().mean(0) - 1 / 2).abs().max() < 5 * math.sqrt(1 / 8 / count)


@settings(max_examples=50, deadline=None)
@given(seeds, st.integers(1, 12), st.floats(0, 1, exclude_max=True), st.booleans())
def test_dropping_keeps_the_total_and_a_component(seed, n, probability, signed):
    mixture = random_mixture((8, n), 2, seed)
    if signed:
        mixture = mixture._replace(weights=torch.randn(8, n, generator=generator(seed), dtype=torch.float64))
    uniform = torch.rand(8, n, generator=generator(seed), dtype=torch.float64)
    result = drop(mixture, probability, uniform)
    left = result.weights != 0
    assert left.any(-1).all()
    assert (left >= (uniform >= probability)).all()
    torch.testing.assert_close(result.weights.abs().sum(-1), mixture.weights.abs().sum(-1))
    ratios = (result.weights / mixture.weights).where(left, -torch.inf).amax(-1, keepdim=True)
    torch.testing.assert_close(result.weights, torch.where(left, mixture.weights * ratios, 0))
    assert torch.equal(result.positions, mixture.positions)
    assert torch.equal(result.covariances, mixture.covariances)


def test_dropping_takes_the_expected_share():
    mixture = random_mixture((2000, 3), 2)
    result = augment(mixture, Augmentation(dropping=0.6), generator())
    # All three are dropped with probability p³, and then one of them is not.
    share = 1 - 0.6 + 0.6**3 / 3
    assert (result.weights != 0).double().mean() == pytest.approx(share, abs=5 * 0.5 / math.sqrt(6000))
    torch.testing.assert_close(result.weights.sum(-1), mixture.weights.sum(-1))


def test_dropping_never_leaves_only_components_without_weight():
    weights = torch.tensor([[0.0, 0.5, 0.0], [0.0, 0.0, 0.0]])
    mixture = random_mixture((2, 3), 2, dtype=torch.float32)._replace(weights=weights)
    assert torch.equal(drop(mixture, 0.9, torch.tensor([[0.8, 0.1, 0.95]]).expand(2, 3)).weights, weights)


def test_same_generator_same_augmentation_and_each_shape_its_own():
    one = random_mixture((1, 6), 3)
    mixture = one.map(lambda tensor: tensor.expand(4, *tensor.shape[1:]))
    first, again = (augment(mixture, EVERYTHING, generator(5)) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    other = augment(mixture, EVERYTHING, generator(6))
    assert not torch.equal(first.positions, other.positions)
    assert len({tuple(row.flatten().tolist()) for row in first.positions}) == 4
    single = augment(mixture.to(torch.float32), EVERYTHING, generator(5))
    assert single.positions.dtype == torch.float32
    assert_close(single.to(torch.float64), first, 1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_same_augmentation_on_the_gpu():
    mixture = random_mixture((4, 6), 3)
    result = augment(mixture.to("cuda"), EVERYTHING, generator(5))
    assert result.positions.is_cuda
    assert_close(result.to("cpu"), augment(mixture, EVERYTHING, generator(5)), 1e-12)
