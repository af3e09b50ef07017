"""GMM layers: their log-scores against densities, their sampling, and the stack that they make."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from gmcn.errors import InputError
from gmcn.nn import Folding, GMMLayer, Pooling
from gmcn.nn.gmm_stack import GMMStack


def made(channels: int = 6, components: int = 4, rank: int = 0, positions: tuple[int, int] | None = None) -> GMMLayer:
    """A layer with parameters of all sizes, in float64."""
    generator = torch.Generator().manual_seed(3)
    layer = GMMLayer(channels, components, rank, positions=positions, spread=1.0, generator=generator).double()
    with torch.no_grad():
        layer.logits.copy_(torch.randn(layer.logits.shape, generator=generator))
        layer.roots.copy_(1 + torch.rand(layer.roots.shape, generator=generator))
        if layer.factors is not None:
            layer.factors.copy_(torch.randn(layer.factors.shape, generator=generator))
    return layer


def images(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


@pytest.mark.parametrize("rank", [0, 3])
@pytest.mark.parametrize("positions", [None, (2, 3)])
def test_log_scores_are_those_of_the_density(rank: int, positions: tuple[int, int] | None) -> None:
    layer, x = made(rank=rank, positions=positions), images(5, 6, 2, 3)
    points = x.flatten(2).permute(2, 0, 1)  # [P, B, C]
    mixture = layer.mixture
    expected = mixture.log_prob(points if positions else points.flatten(0, 1)).view(6, 5).mT.view(5, 2, 3)
    torch.testing.assert_close(layer.log_likelihood(x), expected, rtol=1e-9, atol=1e-9)
    shares = mixture.responsibilities(points if positions else points.flatten(0, 1)).view(6, 5, 4)
    torch.testing.assert_close(layer(x), shares.permute(1, 2, 0).view(5, 4, 2, 3), rtol=1e-9, atol=1e-12)


def test_one_component_is_scikit_learns() -> None:
    from sklearn.mixture import GaussianMixture

    x = images(200, 6, 1, 1)
    theirs = GaussianMixture(3, covariance_type="diag", random_state=0).fit(x.flatten(1).numpy())
    layer = made(components=3)
    with torch.no_grad():
        layer.logits.copy_(torch.from_numpy(theirs.weights_).log())
        layer.means.copy_(torch.from_numpy(theirs.means_))
        layer.roots.copy_(torch.from_numpy(theirs.precisions_cholesky_))
    expected = torch.from_numpy(theirs.score_samples(x.flatten(1).numpy()))
    torch.testing.assert_close(layer.log_likelihood(x).flatten(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("positions", [None, (3, 3)])
@pytest.mark.parametrize(("kernel", "stride"), [(2, 1), (2, 2), (5, 1)])
def test_a_folding_before_the_layer_is_the_folded_input(
    rank: int, positions: tuple[int, int] | None, kernel: int, stride: int
) -> None:
    folding = Folding(kernel, stride)
    size = {(2, 1): 4, (2, 2): 6, (5, 1): 5}[kernel, stride]
    x = images(3, 2, size, size)
    folded = folding(x)
    if positions:
        positions = (folded.shape[2], folded.shape[3])
    layer = made(2 * kernel**2, rank=rank, positions=positions)
    torch.testing.assert_close(layer.log_scores(x, folding), layer.log_scores(folded), rtol=1e-9, atol=1e-9)


def test_the_bound_is_below_the_log_likelihood_by_at_most_log_k() -> None:
    layer, x = made(), images(5, 6, 2, 3)
    gap = layer.log_likelihood(x) - layer.bound(x)
    assert (gap >= 0).all()
    assert (gap <= torch.tensor(4.0).log()).all()


def test_gradients() -> None:
    layer, x = made(3, 2, 1), images(2, 3, 2, 2).requires_grad_()
    names = dict(layer.named_parameters())

    def scores(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(scores, (x, *(value.detach().requires_grad_() for value in names.values())))


@pytest.mark.parametrize("rank", [0, 2])
def test_samples_have_the_moments_of_the_density(rank: int) -> None:
    layer = made(3, 2, rank)
    control = layer.logits.detach().softmax(0).expand(20_000, -1)[..., None, None]
    drawn = layer.down(control, torch.Generator().manual_seed(0))[:, :, 0, 0]
    mean, covariance = layer.mixture.moments()
    torch.testing.assert_close(drawn.mean(0), mean, rtol=0.05, atol=0.05)
    torch.testing.assert_close(drawn.mT.cov(), covariance, rtol=0.1, atol=0.1)


def test_top_keeps_the_largest_shares_and_a_seed_repeats_the_draws() -> None:
    layer = made()
    control = torch.tensor([0.1, 0.5, -1.0, 0.3]).double()[None, :, None, None].expand(200, -1, 2, 2)

    def drawn(top: int | None) -> torch.Tensor:
        values = layer.down(control, torch.Generator().manual_seed(1), top, divisor=float("inf"))
        return torch.cdist(values.movedim(1, -1).reshape(-1, 6), layer.means).argmin(1)

    assert set(drawn(1).tolist()) == {1}
    assert set(drawn(2).tolist()) == {1, 3}
    assert set(drawn(None).tolist()) == {0, 1, 3}
    assert drawn(None).equal(drawn(None))
    assert set(torch.bincount(drawn(2), minlength=4).tolist()[::2]) == {0}


def test_shares_of_which_none_is_positive_are_all_alike() -> None:
    layer = made()
    drawn = layer.down(torch.full((400, 4, 1, 1), -1.0), torch.Generator().manual_seed(0), divisor=float("inf"))
    assert len(drawn.flatten(1).unique(dim=0)) == 4


def test_precisions_stay_at_the_cap_or_below() -> None:
    layer = GMMLayer(2, 3, cap=20)
    with torch.no_grad():
        layer.roots.mul_(-3)
    layer.clip_()
    torch.testing.assert_close(layer.roots.square(), torch.full((3, 2), 20.0))


@pytest.mark.parametrize(("kernel", "stride"), [((2, 3), (1, 2)), ((7, 7), (7, 7)), ((4, 4), (2, 4))])
def test_folding_down_of_folding_up_is_the_identity(kernel: tuple[int, int], stride: tuple[int, int]) -> None:
    folding = Folding(kernel, stride)
    rows, columns = (k + 2 * d for k, d in zip(kernel, stride, strict=True))
    x = images(2, 3, rows, columns)
    folded = folding(x)
    assert folding.output(3, (rows, columns)) == (folded.shape[1], (3, 3))
    torch.testing.assert_close(folded, functional.unfold(x, kernel, stride=stride).unflatten(2, (3, 3)))
    torch.testing.assert_close(folding.down(folded, (rows, columns)), x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
def test_pooling_is_torchs_and_its_way_down_repeats_values(size: tuple[int, int]) -> None:
    pooling, x = Pooling(2), images(2, 3, *size)
    pooled = pooling(x)
    assert pooled.equal(functional.max_pool2d(x, 2))
    up = pooling.down(pooled, size)
    rows, columns = pooled.shape[2] * 2, pooled.shape[3] * 2
    assert up[:, :, :rows, :columns].equal(functional.interpolate(pooled, scale_factor=2, mode="nearest"))
    assert up.shape[2:] == size
    assert up[:, :, rows:].equal(up[:, :, rows - 1 : rows].expand(-1, -1, size[0] - rows, -1))


def test_sampling_from_the_top_of_a_stack_gives_images_and_repeats_with_a_seed() -> None:
    stack = GMMStack((2, 9, 9), ["F4x3,1x2", "G5x1", "P2", "F3x2", "G4"], unshared=[1], spread=1.0)
    control = torch.ones(7, 4, 1, 1)
    drawn = stack.down(control, torch.Generator().manual_seed(2), top=2, divisor=3)
    assert drawn.shape == (7, 2, 9, 9)
    assert drawn.equal(stack.down(control, torch.Generator().manual_seed(2), top=2, divisor=3))
    assert [tuple(scores.shape) for scores in stack.scores(drawn)] == [(7, 5, 6, 4), (7, 4, 1, 1)]


def test_sharpening_raises_the_log_likelihood_of_each_image() -> None:
    stack = GMMStack((1, 8, 8), ["F4,2", "G4", "F3", "G4"], spread=0.5)
    x = images(5, 1, 8, 8).float()

    def value(x: torch.Tensor) -> torch.Tensor:
        return next(stack.scores(x)).logsumexp(1).mean((1, 2)).detach()

    sharp = stack.sharpened(x, 0, 20, 0.1)
    assert (value(sharp) > value(x)).all()
    alone = stack.sharpened(x[:1], 0, 20, 0.1)  # no image depends on the others
    torch.testing.assert_close(alone, sharp[:1], rtol=1e-4, atol=1e-5)


def test_no_gradient_flows_between_mixtures() -> None:
    stack = GMMStack((1, 8, 8), ["F4,2", "G4", "F3", "G4"])
    *_, last = stack.scores(images(2, 1, 8, 8).float())
    last.sum().backward()
    assert stack.mixtures[0].means.grad is None
    assert stack.mixtures[1].means.grad is not None


@pytest.mark.parametrize(
    ("layers", "options", "message"),
    [
        (["F5", "G4", "F9", "G4"], {}, r"layer 3, F9: a window of 9 x 9 does not fit 4 x 4 positions; make it smaller"),
        (["F3,2", "G4"], {}, r"layer 1, F3,2: windows of 3 x 3 in steps of 2 x 2 leave some of 8 x 8 positions out"),
        (["F5", "G4", "F4"], {}, "the last a mixture"),
        (["F5", "G4", "G4"], {}, "a folding between two of them"),
        (["F5", "K4"], {}, "the layers F5, K4 must be foldings"),
        (["F0", "G4"], {}, "layer 1, F0: kernel is .* at least 1"),
        (["F5", "G0"], {}, "layer 2, G0: GMMLayer: components is 0; it must be a whole number of at least 1"),
        (["F5", "G4"], {"caps": [1, 2]}, "there are 2 caps for 1 mixtures; say one for all, or one for each"),
        (["F5", "G4"], {"unshared": [2]}, "unshared names mixture 2, but there are 1"),
        (["F5", "G4"], {"caps": [0.0]}, "precision 0.0 must be above 0"),
    ],
)
def test_stacks_that_cannot_be(layers: list[str], options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        GMMStack((1, 8, 8), layers, **options)


def test_an_input_of_other_channels_or_positions_is_refused() -> None:
    with pytest.raises(InputError, match=r"the input has 5 channels at \[2, 2\] positions; this layer takes 6"):
        made()(images(2, 5, 2, 2))
    with pytest.raises(InputError, match=r"6 channels at \[2, 2\] positions; this layer takes 6 at \[2, 3\] positions"):
        made(positions=(2, 3))(images(2, 6, 2, 2))
