"""The objective of a GMM layer, and its gradient by hand beside that of autograd through all scores."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gmcn.nn import Folding, GMMLayer
from gmcn.nn.annealing import Annealing, AnnealingSettings
from gmcn.nn.gmm_objective import ObjectiveOfImages, ObjectiveOfScores, opened

EVERYTHING = (True, True, True)
GRID = pytest.mark.parametrize("grid", [False, True], ids=["no grid", "grid"])
# Images, folding
SEEN = [
    ((5, 3, 2, 4), None),
    ((5, 3, 1, 1), None),
    ((4, 2, 5, 6), Folding((2, 3), (1, 3))),
    ((4, 2, 3, 3), Folding(3)),
]


def layer_of(channels: int, components: int, alike: bool = False, rank: int = 0, positions=None) -> GMMLayer:
    """A layer with parameters of all sizes, in float64."""
    generator = torch.Generator().manual_seed(5)
    layer = GMMLayer(channels, components, rank, positions=positions, spread=0.7, generator=generator).double()
    with torch.no_grad():
        layer.logits.copy_(torch.randn(layer.logits.shape, generator=generator))
        roots = 1 + torch.rand(layer.roots.shape, generator=generator)
        layer.roots.copy_(torch.full_like(roots, 1.4) if alike else roots)
    return layer


def seen(shape: tuple[int, ...], folding: Folding | None) -> tuple[Tensor, int]:
    """An input, and the channels of the layer that takes it."""
    x = torch.rand(shape, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    return x, shape[1] if folding is None else folding.output(shape[1], shape[2:])[0]


def grid_of(components: int, wanted: bool) -> Tensor | None:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(components, components, generator=generator, dtype=torch.float64).softmax(1) if wanted else None


def by_autograd(layer: GMMLayer, x: Tensor, grid: Tensor | None, folding: Folding | None) -> Tensor:  # [B, H', W']
    scores = layer.log_scores(x if folding is None else folding(x)).movedim(1, -1)
    return (scores if grid is None else scores @ grid.mT).amax(-1)


@GRID
@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("components", [1, 2, 9])
@pytest.mark.parametrize(("shape", "folding"), SEEN, ids=str)
def test_value_and_gradient_are_those_of_autograd(grid, alike, components, shape, folding):
    x, channels = seen(shape, folding)
    layer, smoothing = layer_of(channels, components, alike), grid_of(components, grid)
    objective, winners, shares = layer.objective(x, smoothing, folding, shared=True)
    expected = by_autograd(layer, x, smoothing, folding)
    torch.testing.assert_close(objective, expected, rtol=1e-9, atol=1e-9)
    slopes = torch.randn(objective.shape, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    names, parameters = zip(*layer.named_parameters(), strict=True)
    found = torch.autograd.grad((objective * slopes).sum(), parameters)
    wanted = torch.autograd.grad((expected * slopes).sum(), parameters)
    for name, one, other in zip(names, found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")
    assert not shares.requires_grad
    exact = layer.log_scores(x, folding).softmax(1)
    torch.testing.assert_close(shares, exact, rtol=1e-7, atol=1e-12)
    smoothed = exact.log().movedim(1, -1)  # of winners alone: a number for all changes nothing
    smoothed = smoothed if smoothing is None else smoothed @ smoothing.mT
    assert smoothed.gather(-1, winners[..., None]).allclose(smoothed.amax(-1, keepdim=True))


@GRID
def test_gradcheck(grid):
    x, channels = seen(*SEEN[2])
    layer, smoothing = layer_of(channels, 4), grid_of(4, grid)

    def objective(*parameters: Tensor) -> Tensor:
        return ObjectiveOfImages.apply(x, *parameters, smoothing, SEEN[2][1], False)[0]

    assert torch.autograd.gradcheck(objective, (layer.logits, layer.means, layer.roots))
    scores = torch.randn(6, 4, generator=torch.Generator().manual_seed(9), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda scores: ObjectiveOfScores.apply(scores, smoothing)[0], scores)


@GRID
@pytest.mark.parametrize("case", ["plain", "factors", "own positions", "input with a gradient"])
@pytest.mark.parametrize("learns", [EVERYTHING, (True, False, False), (True, False, True), (False, False, False)])
def test_what_does_not_learn_has_no_gradient_and_changes_no_other(grid, case, learns):
    x, channels = seen((5, 3, 2, 4), None)
    options = {"factors": {"rank": 2}, "own positions": {"positions": (2, 4)}}.get(case, {})
    layer, smoothing = layer_of(channels, 4, alike=True, **options), grid_of(4, grid)
    x.requires_grad_(case == "input with a gradient")
    objective, _, shares = layer.objective(x, smoothing, learns=learns, shared=True)
    expected = by_autograd(layer, x, smoothing, None)
    torch.testing.assert_close(objective, expected, rtol=1e-9, atol=1e-9)
    assert not shares.requires_grad
    torch.testing.assert_close(shares, layer(x.detach()))
    parts = {"means": learns[0], "roots": learns[1], "factors": learns[1], "logits": learns[2]}
    expected.sum().backward()
    wanted = {name: parameter.grad for name, parameter in layer.named_parameters()}
    layer.zero_grad()
    if any(learns) or x.requires_grad:
        slope, x.grad = x.grad, None
        objective.sum().backward()
        if x.requires_grad:
            torch.testing.assert_close(x.grad, slope, rtol=1e-9, atol=1e-9)
    for name, parameter in layer.named_parameters():
        if parts[name]:
            torch.testing.assert_close(parameter.grad, wanted[name], rtol=1e-9, atol=1e-9)
        else:
            assert parameter.grad is None, name


def test_precisions_that_are_alike_get_a_gradient_each():
    """Also through the scores: what all components have in common has as many gradients as there are components."""
    layer, (x, _) = layer_of(3, 4, alike=True), seen((5, 3, 2, 4), None)
    found = torch.autograd.grad(layer.log_likelihood(x).sum(), layer.roots)[0]
    weights = opened(layer.logits, layer.means, layer.roots)
    rows = x.movedim(1, -1)
    scores = rows @ weights[1].mT + rows.square() @ weights[0].mT + weights[2]
    expected = torch.autograd.grad(scores.logsumexp(-1).sum(), layer.roots)[0]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_no_second_derivative_and_no_images():
    layer, (x, _) = layer_of(3, 4), seen((5, 3, 2, 4), None)
    with pytest.raises(NotImplementedError, match="no second derivative; take that of its log_scores"):
        torch.autograd.grad(layer.objective(x)[0].sum(), layer.means, create_graph=True)
    layer.objective(x[:0])[0].sum().backward()
    assert not layer.means.grad.any()


def test_annealing_sees_a_layer_as_it_sees_scores():
    layer, (x, _) = layer_of(3, 9), seen((5, 3, 2, 4), None)
    for sigma in (0.01, 1.0):
        one, other = (Annealing(9, AnnealingSettings(sigma=sigma)) for _ in range(2))
        objective, _ = one.objective_of(layer, x, None, EVERYTHING)
        torch.testing.assert_close(objective, other.objective(layer.log_scores(x)), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(one.state, other.state)
        assert one.winners.equal(other.winners)
        assert one.winners.sum() == 40
        one.objective_of(layer, x, None, (False, False, False))
        assert one.winners.sum() == 40, "a mixture that waits for its turn has no window"


def test_not_a_number_comes_out():
    layer, (x, _) = layer_of(3, 9), seen((5, 3, 2, 4), None)
    x[2, 1, 0, 0] = float("nan")
    objective, winners, _ = layer.objective(x, grid_of(9, True))
    assert objective.isnan().nonzero().tolist() == [[2, 0, 0]]
    assert winners.max() < 9
    objective.sum().backward()
    assert layer.means.grad.isnan().any()
