"""Trees of mixtures: each level refines the components of the level before."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gmcn.mixture.density import GaussianMixture
from gmcn.mixture.groups import conditional, members
from gmcn.mixture.tensors import check_values, mapped, take


@dataclass(frozen=True, eq=False)
class MixtureTree:
    """Levels of densities in the same space; every component but those of the first level has a parent.

    Leading dimensions [...] are those of all levels; the tree's shape is the same for all of them.

    Args:
        levels: level l has N_l components, whose logits count in the whole level: a component's weight is the sum of
            its children's. :meth:`from_siblings` takes logits among siblings.
        parents: for each level but the first, the parent [N_l] of each component, an index into the level before.
            By default children lie together and all have as many: component i's parent is i // (N_l / N_(l - 1)).

    Raises:
        ValueError: levels that do not fit each other, a parent that does not exist, or one without children.
    """

    levels: tuple[GaussianMixture, ...]
    parents: tuple[Tensor, ...] = ()  # of [N_l]

    def __post_init__(self) -> None:
        levels = tuple(self.levels)
        if not levels:
            raise ValueError("a tree needs at least one level")
        for number, level in enumerate(levels):
            if (level.batch_shape, level.dim) != (levels[0].batch_shape, levels[0].dim):
                raise ValueError(
                    f"level {number} has leading dimensions {list(level.batch_shape)} in {level.dim}D, but level 0 has "
                    f"{list(levels[0].batch_shape)} in {levels[0].dim}D"
                )
        parents = tuple(self.parents) or _regular(levels)
        if len(parents) != len(levels) - 1:
            raise ValueError(f"{len(levels)} levels need parents for {len(levels) - 1}, got {len(parents)}")
        for number, parent in enumerate(parents, 1):
            above, own, name = levels[number - 1].components, levels[number].components, f"parents of level {number}"
            if parent.dtype != torch.int64 or parent.shape != (own,):
                raise ValueError(f"{name} must be int64 [{own}], got {parent.dtype} {list(parent.shape)}")
            check_values((parent >= 0) & (parent < above), f"{name} must lie in 0 ... {above - 1}")
            check_values(members(parent, above).any(-1), f"a component of level {number - 1} has no children")
        object.__setattr__(self, "levels", levels)
        object.__setattr__(self, "parents", parents)

    @classmethod
    def from_siblings(cls, levels: Sequence[GaussianMixture], parents: Sequence[Tensor] = ()) -> MixtureTree:
        """The tree whose logits count among siblings only: a component's weight is the product along its ancestors."""
        tree = cls(tuple(levels), tuple(parents))
        weighed = [tree.levels[0]]
        for level, parent in zip(tree.levels[1:], tree.parents, strict=True):
            within, _ = conditional(level.logits, parent)
            logits = within + weighed[-1].logits[..., parent]
            weighed.append(GaussianMixture(logits, level.means, level.covariance))
        return cls(tuple(weighed), tree.parents)

    def leaves(self) -> GaussianMixture:
        """The last level, which is the density of the tree."""
        return self.levels[-1]

    def parent(self, level: int) -> Tensor:  # [N_l]
        """For each component of a level, 1 or more, the index of its parent in the level before."""
        if not 1 <= level < len(self.levels):
            raise ValueError(f"level {level} has no parents; levels 1 ... {len(self.levels) - 1} have")
        return self.parents[level - 1]

    def log_prob(
        self,
        x: Tensor,  # [..., M, D]
    ) -> Tensor:  # [..., M]
        """Logarithm of the density, exactly: that of all leaves."""
        return self.leaves().log_prob(x)

    def hard_path_log_prob(
        self,
        x: Tensor,  # [..., M, D]
    ) -> Tensor:  # [..., M, L]
        """For each level, the log-density among the children of one ancestor, as PointGMM's loss has it.

        On level 0 all components count. The one with the largest share becomes the point's ancestor; on the next level
        only its children count, with their weights among siblings; and so on, without a gradient through the choice.
        This is *not* the density of the level, as the ancestor's weight and all other components are left out. A point
        costs N_0 densities and as many as an ancestor has children for each further level; memory M times that, times
        the size of a covariance.
        """
        first = self.levels[0]
        scores = first.component_log_prob(x)
        values, ancestor = [scores.logsumexp(-1)], scores.argmax(-1)
        for level, parent in zip(self.levels[1:], self.parents, strict=True):
            children, there = _children(parent)
            index = children[ancestor]  # [..., M, C]
            within, _ = conditional(level.logits, parent)
            scores = _aligned(level, within, x, index).masked_fill(~there[ancestor], -math.inf)
            values.append(scores.logsumexp(-1))
            ancestor = take(index.flatten(0, -2), scores.flatten(0, -2).argmax(-1)[:, None]).reshape(ancestor.shape)
        return torch.stack(values, -1)


def _regular(levels: Sequence[GaussianMixture]) -> tuple[Tensor, ...]:
    parents = []
    for number, (above, level) in enumerate(itertools.pairwise(levels), 1):
        if level.components % above.components:
            raise ValueError(
                f"level {number} has {level.components} components, no multiple of the {above.components} of the level "
                "before: say their parents"
            )
        children = level.components // above.components
        parents.append(torch.arange(level.components, device=level.means.device) // children)
    return tuple(parents)


def _children(
    parent: Tensor,  # [N]
) -> tuple[Tensor, Tensor]:  # [P, C], [P, C]
    """Children of each parent, and whether they are there: parents with fewer have their first child again."""
    order = parent.argsort(stable=True)
    counts = parent.bincount()
    places = torch.arange(int(counts.max()), device=parent.device)
    there = places < counts[:, None]
    starts = counts.cumsum(0) - counts
    return order[starts[:, None] + torch.where(there, places, 0)], there


def _aligned(
    level: GaussianMixture,  # [..., N]
    logits: Tensor,  # [..., N]
    x: Tensor,  # [..., M, D]
    index: Tensor,  # [..., M, C]
) -> Tensor:  # [..., M, C]
    """Logarithm of weight times density of those components that ``index`` names for each point."""
    lead = index.shape[:-2]
    flat = index.flatten(-2)
    picked = mapped(level.expand(*lead), lambda tensor: take(tensor, flat))  # [..., M C]
    weights = take(logits.expand(*lead, -1), flat)
    deltas = x.expand(*lead, *x.shape[-2:]).repeat_interleave(index.shape[-1], -2) - picked.means
    squares = picked.covariance.whiten(deltas[..., None, :]).square().sum(-1)[..., 0]
    return (weights - (squares + picked.covariance.logdet() + level.dim * math.log(2 * math.pi)) / 2).unflatten(
        -1, index.shape[-2:]
    )
