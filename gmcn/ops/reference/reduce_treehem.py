"""TreeHEM, appendix D: hierarchical EM along a tree of the components' centres."""

from __future__ import annotations

import torch
from torch import Tensor

from gmcn.mixture import Mixture
from gmcn.ops.reference import tree as trees
from gmcn.ops.reference.node_fit import NEGLIGIBLE, fit, representatives


def reduce_treehem(
    mixture: Mixture,  # [..., N]
    n: int,
    t: int = 2,
    *,
    kl_threshold: float = 0.5,
    virtual_samples: float = 4.0,
) -> Mixture:  # [..., min(n, N)]
    """Exactly ``min(n, N)`` components, with at most ``t`` cached in every tree node.

    The fit happens at a scale where the average variance is one. Where a mixture has too few components that are
    not negligible, the rest have weight 0, position 0 and the average variance.
    """
    if n >= mixture.components:
        return mixture
    weights, positions, covariances = mixture
    variance = covariances.diagonal(dim1=-2, dim2=-1).sum(-1).mean(-1) / mixture.dim  # [...]
    variance = variance[..., None, None]
    scaled = Mixture(weights, positions / variance.sqrt(), covariances / variance[..., None])
    reduced = core(scaled, n, t, kl_threshold, virtual_samples)
    return Mixture(reduced.weights, reduced.positions * variance.sqrt(), reduced.covariances * variance[..., None])


def core(
    mixture: Mixture,  # [..., N]
    n: int,
    t: int,
    kl_threshold: float,
    virtual_samples: float,
) -> Mixture:  # [..., n]
    """The reduction without the change of scale."""
    batch_shape = mixture.batch_shape
    flat = mixture.map(lambda tensor: tensor.flatten(0, len(batch_shape) - 1) if batch_shape else tensor[None])
    if flat.weights.shape[0] == 0:
        return mixture.map(lambda tensor: tensor.narrow(len(batch_shape), 0, n))
    pool = _Pool(flat, kl_threshold, virtual_samples)
    built = [build_tree(positions.detach()) for positions in flat.positions]
    caches = _fit_nodes(built, pool, mixture.components, t)
    masses = [tree.masses(weights) for tree, weights in zip(built, flat.weights.tolist(), strict=True)]
    selections = [_select(*parts, pool, n, t) for parts in zip(built, caches, masses, strict=True)]

    # A node may be wanted with another number of components than it has cached.
    refits = [(members, size) for selection in selections for members, size in selection]
    fitted = iter(pool.reduce(refits))
    chosen = [[index for _ in selection for index in next(fitted)] for selection in selections]
    padded = [indices + [pool.padding] * (n - len(indices)) for indices in chosen]
    index = torch.tensor(padded, device=flat.weights.device)
    return pool.mixture.map(lambda tensor: tensor[index].reshape(*batch_shape, n, *tensor.shape[1:]))


def build_tree(
    positions: Tensor,  # [N, D]
) -> trees.Tree:
    """The tree over Morton codes; equal codes are split by the components' indices."""
    codes = trees.morton_codes(positions)
    keys = sorted(code << 32 | index for index, code in enumerate(codes))
    return trees.build(keys, [key & 0xFFFFFFFF for key in keys])


class _Pool:
    """The Gaussians of all nodes of all trees in one list, so that nodes of equal height are fitted together."""

    def __init__(self, mixtures: Mixture, kl_threshold: float, virtual_samples: float) -> None:
        self.mixture = mixtures.map(lambda tensor: tensor.flatten(0, 1))  # [P]
        self.settings = kl_threshold, virtual_samples
        self.padding = self.mixture.weights.shape[0]
        identity = torch.eye(mixtures.dim, dtype=mixtures.weights.dtype, device=mixtures.weights.device)
        zeros = torch.zeros_like(identity[:1])
        self._append(Mixture(zeros[:, 0], zeros, identity[None]))

    def _append(
        self,
        mixture: Mixture,  # [P']
    ) -> None:
        self.mixture = Mixture(*(torch.cat(pair) for pair in zip(self.mixture, mixture, strict=True)))
        self.weights = self.mixture.weights.tolist()
        self.positions = self.mixture.positions.tolist()

    def collect(self, *caches: list[int]) -> list[int]:
        """The members of the caches whose weight counts."""
        return [index for cache in caches for index in cache if abs(self.weights[index]) >= NEGLIGIBLE]

    def reduce(self, jobs: list[tuple[list[int], int]]) -> list[list[int]]:
        """For each (members, size): the members if they are at most ``size``, else a fit of them to ``size``."""
        results = [members for members, _ in jobs]
        groups: dict[tuple[int, int], list[int]] = {}
        for job, (members, size) in enumerate(jobs):
            if len(members) > size:
                groups.setdefault((len(members), size), []).append(job)
        for (_, size), members_of in groups.items():
            chosen = [jobs[job][0] for job in members_of]
            starts = [
                representatives([self.weights[i] for i in some], [self.positions[i] for i in some], size)
                for some in chosen
            ]
            device = self.mixture.weights.device
            index = torch.tensor(chosen, device=device)
            target = Mixture(*(tensor[index] for tensor in self.mixture))
            fitted = fit(target, torch.tensor(starts, device=device), *self.settings)
            first = len(self.weights)
            self._append(fitted.map(lambda tensor: tensor.flatten(0, 1)))
            for place, job in enumerate(members_of):
                results[job] = list(range(first + place * size, first + (place + 1) * size))
        return results


def _fit_nodes(built: list[trees.Tree], pool: _Pool, components: int, t: int) -> list[list[list[int]]]:
    """Bottom-up pass: for each tree and node the pool indices of the at most ``t`` Gaussians that stand for it."""
    caches: list[list[list[int]]] = []
    levels: dict[int, list[tuple[int, int]]] = {}  # by height
    for sample, tree in enumerate(built):
        leaves = [[sample * components + component] for component in tree.order]
        caches.append([[] for _ in tree.left] + leaves)
        heights = [0] * (2 * components - 1)
        for node in reversed(tree.top_down):
            heights[node] = 1 + max(heights[tree.left[node]], heights[tree.right[node]])
            levels.setdefault(heights[node], []).append((sample, node))
    for height in sorted(levels):
        nodes = levels[height]
        collected = [_children(built[sample], caches[sample], node, pool) for sample, node in nodes]
        for (sample, node), cache in zip(nodes, pool.reduce([(some, t) for some in collected]), strict=True):
            caches[sample][node] = cache
    return caches


def _children(tree: trees.Tree, caches: list[list[int]], node: int, pool: _Pool) -> list[int]:
    return pool.collect(caches[tree.left[node]], caches[tree.right[node]])


def _select(
    tree: trees.Tree, caches: list[list[int]], masses: list[float], pool: _Pool, n: int, t: int
) -> list[tuple[list[int], int]]:
    """Top-down pass: descend into the nodes of largest mass until ``n`` components are selected.

    Returns for each selected node its Gaussians and how many of them are wanted.
    """
    if n < t:
        return [(_children(tree, caches, 0, pool), n)]
    selected = [0]
    jobs = {0: (caches[0], t)}
    count = len(caches[0])
    final = set()
    while count < n:
        eligible = [
            node for node in selected if not tree.is_leaf(node) and node not in final and len(caches[node]) >= t
        ]
        if not eligible:
            break
        node = max(eligible, key=lambda node: abs(masses[node]))  # the first one on ties
        left, right = tree.left[node], tree.right[node]
        more = len(caches[left]) + len(caches[right]) - t
        if more <= n - count:
            selected[selected.index(node)] = left
            selected.append(right)
            jobs |= {left: (caches[left], t), right: (caches[right], t)}
            count += more
        else:
            # One component too many: this node's children are fitted to what is still missing instead.
            collected = _children(tree, caches, node, pool)
            size = t + n - count
            jobs[node] = collected, size
            final.add(node)
            count += min(len(collected), size) - t
    return [jobs[node] for node in selected]
