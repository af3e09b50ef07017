"""How well clusters of objects are apart, and how well they agree with the classes.

The metrics are read without torch, by tables and the configuration: what measures imports it where it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gmcn.tasks.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor

LIMIT = 5000  # objects at most: indices of distances depend on how many there are
ROWS = 500  # of a matrix of distances; bounds memory
EXACT = "donot_use_mm_for_euclid_dist"  # by products the distance to a copy is not 0
DUNN = Metric("dunn", "Dunn index", digits=3, larger_is_better=True)
DAVIES_BOULDIN = Metric("davies_bouldin", "Davies-Bouldin index", digits=2)
NMI = Metric("nmi", "normalised mutual information with the classes", digits=3, larger_is_better=True)
PURITY = Metric("purity", "purity of clusters", "%", 1, larger_is_better=True, scale=100)
CLUSTERS = (DUNN, DAVIES_BOULDIN, NMI, PURITY)


def clustering(
    inputs: Tensor,  # [S, *shape]
    labels: Tensor | None,  # [S] long
    clusters: Tensor,  # [S] long
) -> dict[str, Any]:
    """The metrics of :data:`CLUSTERS`, and in ``clusters`` how many are used by how many objects, and the accuracy.

    Purity is the share of objects of their cluster's most frequent class; the accuracy gives each cluster at most one
    class and each class at most one cluster, as well as can be. None where it cannot be said: the indices of a
    single cluster, and what needs classes where the objects are of one or none.
    """
    from sklearn.metrics import davies_bouldin_score, normalized_mutual_info_score

    values, found = inputs.flatten(1).double().cpu(), clusters.cpu()
    used = len(found.unique())
    apart = 1 < used < len(found)
    counts, mutual = None, None
    if labels is not None and len(labels.unique()) > 1:
        counts = contingency(found, labels)
        mutual = float(normalized_mutual_info_score(labels.numpy(), found.numpy()))
    return {
        DUNN.name: dunn(values, found) if apart else None,
        DAVIES_BOULDIN.name: float(davies_bouldin_score(values.numpy(), found.numpy())) if apart else None,
        NMI.name: mutual,
        PURITY.name: None if counts is None else counts.amax(1).sum().item() / len(found),
        "clusters": {"used": used, "objects": len(found), "accuracy": None if counts is None else matched(counts)},
    }


def dunn(
    values: Tensor,  # [S, d], float64
    clusters: Tensor,  # [S] long
) -> float | None:
    """The smallest distance of two points of different clusters over the largest of two of one cluster (Dunn, 1974).

    None where no two points of one cluster differ. Memory is that of some rows of the matrix of distances.
    """
    import torch

    apart, wide = values.new_tensor(torch.inf), values.new_tensor(0.0)
    for start in range(0, len(values), ROWS):
        # Of each pair once.
        distances = torch.cdist(values[start : start + ROWS], values[start:], compute_mode=EXACT)
        same = clusters[start : start + ROWS, None] == clusters[None, start:]
        wide = torch.maximum(wide, distances[same].max())
        apart = torch.minimum(apart, distances.masked_fill_(same, torch.inf).min())
    return (apart / wide).item() if wide > 0 else None


def contingency(clusters: Tensor, labels: Tensor) -> Tensor:  # [S] long each -> [clusters, classes]
    """How many objects of each class a cluster has."""
    import torch

    _, rows = clusters.unique(return_inverse=True)
    _, columns = labels.unique(return_inverse=True)
    counts = torch.zeros(int(rows.max()) + 1, int(columns.max()) + 1, dtype=torch.long)
    return counts.index_put_((rows, columns), torch.ones_like(rows), accumulate=True)


def matched(counts: Tensor) -> float:  # [clusters, classes]
    """The share of objects of the class that is their cluster's in the best matching of clusters and classes."""
    from scipy.optimize import linear_sum_assignment

    return counts[linear_sum_assignment(counts.numpy(), maximize=True)].sum().item() / counts.sum().item()
