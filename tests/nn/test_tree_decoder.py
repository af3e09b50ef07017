"""From a cloud to a code, and from a code to a tree of mixtures."""

from __future__ import annotations

import pytest
import torch

import gmcn
from gmcn.data.augmentation import uniform_rotations
from gmcn.errors import InputError
from gmcn.nn.point_encoder import PointEncoder, neighbourhoods
from gmcn.nn.tree_decoder import TreeDecoder, orthonormal
from gmcn.nn.tree_likelihood import exact, hard_path


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def decoder(**options) -> TreeDecoder:
    torch.manual_seed(0)
    return TreeDecoder(5, 16, 2, **options).double().eval()


def codes(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 5, dtype=torch.float64, generator=generator())


def test_levels_have_eight_components_and_then_four_for_each():
    tree = decoder()(codes())
    assert [level.components for level in tree.levels] == [8, 32, 128]
    for above, level in zip(tree.levels, tree.levels[1:], strict=False):
        torch.testing.assert_close(level.weights.unflatten(-1, (-1, 4)).sum(-1), above.weights)
    torch.testing.assert_close(tree.leaves().weights.sum(-1), torch.ones(3, dtype=torch.float64))


def test_siblings_see_each_other_once_the_gate_opens():
    model = decoder()
    closed = model(codes()).leaves().means
    with torch.no_grad():
        for attention in model.attend:
            attention.gate.fill_(1.0)
    assert not torch.allclose(model(codes()).leaves().means, closed)
    assert not list(decoder(attention=False).attend)


def test_attention_stays_among_siblings():
    model = decoder().attend[1]
    with torch.no_grad():
        model.gate.fill_(1.0)
    features = torch.randn(1, 8, 4, 16, dtype=torch.float64, generator=generator())
    changed = features.clone()
    changed[0, 2] += 1
    same = (model(changed) == model(features)).all(-1).all(-1)[0]
    assert same.tolist() == [place != 2 for place in range(8)]


def test_likelihoods_are_those_of_the_tree():
    tree, points = decoder()(codes()), torch.randn(3, 50, 3, dtype=torch.float64, generator=generator())
    torch.testing.assert_close(hard_path(tree, points), tree.hard_path_log_prob(points), rtol=1e-9, atol=1e-9)
    for level in tree.levels:
        torch.testing.assert_close(exact(level, points), level.log_prob(points), rtol=1e-9, atol=1e-9)
    one = gmcn.MixtureTree(tree.levels[:1])
    torch.testing.assert_close(hard_path(one, points)[..., 0], tree.levels[0].log_prob(points), rtol=1e-9, atol=1e-9)


def test_likelihoods_have_the_gradient_of_the_code():
    model, points = decoder(), torch.randn(2, 6, 3, dtype=torch.float64, generator=generator())

    def losses(code: torch.Tensor) -> torch.Tensor:
        tree = model(code)
        return torch.cat([hard_path(tree, points).sum((0, 1)), exact(tree.leaves(), points).sum(1)])

    assert torch.autograd.gradcheck(losses, codes(2).requires_grad_(), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_frames_of_parallel_and_missing_directions_are_orthonormal(dtype):
    first = torch.tensor([[1.0, 0, 0], [0, 0, 0], [1, 2, 3], [1e-20, 0, 0], [1, 2, 3]], dtype=dtype).requires_grad_()
    second = torch.tensor(
        [[1.0, 1e-9, 0], [0, 0, 0], [2, 4, 6], [0, 1, 0], [1, 2, 3.001]], dtype=dtype
    ).requires_grad_()
    axes = orthonormal(first, second)
    torch.testing.assert_close(axes.mT @ axes, torch.eye(3, dtype=dtype).expand(5, 3, 3), rtol=0, atol=1e-6)
    axes.cos().sum().backward()
    assert first.grad.isfinite().all()
    assert second.grad.isfinite().all()


def test_flat_leaves_and_dead_children_give_no_nan():
    model, points = decoder(floor=1e-12), torch.randn(3, 20, 3, dtype=torch.float64, generator=generator())
    with torch.no_grad():
        model.casts[2].layers[2].bias[6] = 0.0
        model.casts[2].layers[2].weight[6] = 0.0  # every leaf's first variance is the floor
        model.casts[1].layers[2].weight[12] *= 1e4  # logits that leave one child alone
    code = codes().requires_grad_()
    tree = model(code)
    values = torch.cat([hard_path(tree, points), exact(tree.leaves(), points)[..., None]], -1)
    assert values.isfinite().all()
    values.clamp(min=-1e6).sum().backward()
    assert code.grad.isfinite().all()


def test_the_order_of_points_does_not_matter():
    torch.manual_seed(0)
    encoder, points = PointEncoder(3, (8, 16)).eval(), torch.randn(2, 30, 3, generator=generator())
    torch.testing.assert_close(encoder(points[:, torch.randperm(30)]), encoder(points))
    assert encoder(points).shape == (2, 16)


def test_neighbourhoods_do_not_see_rotations():
    points = torch.randn(2, 30, 3, dtype=torch.float64, generator=generator())
    turned = points @ uniform_rotations(torch.rand(3, dtype=torch.float64, generator=generator())).mT
    features = neighbourhoods(points, 8)
    assert features.shape == (2, 30, 25)
    torch.testing.assert_close(neighbourhoods(turned, 8), features, rtol=1e-9, atol=1e-9)
    torch.manual_seed(0)
    encoder = PointEncoder(3, (8, 16), neighbours=8).double().eval()
    torch.testing.assert_close(encoder(turned), encoder(points), rtol=1e-6, atol=1e-6)


def test_neighbourhoods_by_hand():
    points = torch.tensor([[[0.0, 0, 1], [1, 0, 1], [0, 2, 2], [0, 0, 9]]])
    first = neighbourhoods(points, 2)[0, 0]
    # The nearest are (1, 0, 1) and (0, 2, 2): across the axis z they stand at right angles.
    expected = torch.tensor([1, 2**0.5, 8**0.5, 0.5**0.5, 0.5**0.5, 0, 0])
    torch.testing.assert_close(first, expected)


def test_too_few_points_are_refused():
    with pytest.raises(InputError, match="with M above 8, and these are"):
        PointEncoder(3, (8,), neighbours=8)(torch.zeros(2, 8, 3))
    with pytest.raises(InputError, match=r"takes points \[B, M, 3\]"):
        PointEncoder(3, (8,))(torch.zeros(2, 8, 2))


def test_no_codes_are_no_trees():
    assert decoder()(codes(0)).leaves().means.shape == (0, 128, 3)


def test_autocast_leaves_the_mixtures_alone():
    model = decoder().float()
    with torch.autocast("cpu", torch.bfloat16):
        leaves = model(codes().float()).leaves()
    assert leaves.means.dtype == torch.float32
    assert leaves.log_prob(torch.zeros(3, 4, 3)).isfinite().all()
