"""How likely a test split is, and how well objects of classes that were not trained on are told from the others.

The metrics are read without torch, by tables and the configuration: what measures imports it where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gmcn.errors import InputError
from gmcn.tasks.density.measures_of_clusters import CLUSTERS, LIMIT, clustering
from gmcn.tasks.metric import Metric

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from gmcn.data.objects import Inputs, ObjectSet
    from gmcn.models import Density, Network

BATCH = 500  # bounds memory
Compared = dict[str | None, tuple[Any, Any]]  # two arrays for each class, and for all (None)
SHOWN = 100  # at most, of samples and of components
_NO_CLUSTERS: dict[str, Any] = {**{metric.name: None for metric in CLUSTERS}, "clusters": None}
LOG_LIKELIHOOD = Metric("log_likelihood", "test log-likelihood", "nats per object", 1, larger_is_better=True)
AUC = Metric("auc", "outliers found, area under the ROC curve", digits=3, larger_is_better=True)

AUC_OTHERS = Metric(
    "auc_others", "objects of another data set found, area under the ROC curve", digits=3, larger_is_better=True
)


class Measures:
    """The log-likelihood of test objects of the trained classes, and how well others are found (``typicality``).

    The ROC curve is of those objects against those of all other classes, the outliers; without such there is none.
    The first of them, :data:`LIMIT` at most, are also clustered by the network's components.
    """

    metrics = (LOG_LIKELIHOOD, AUC, AUC_OTHERS, *CLUSTERS)
    headline = LOG_LIKELIHOOD
    details = ("outliers", "others", "dead", "clusters", "layers")

    def measure(
        self,
        network: Density,
        data: ObjectSet,
        device: torch.device | str = "cpu",
        progress: Callable[[int], object] = lambda _: None,
        metadata: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The metrics, the AUC of each class of outliers, and the log-likelihood of each object.

        Of networks with components also how many are dead and the accuracy of their clusters, and of networks with
        layers of mixtures what each is like (:func:`layers`). What a network does not have is None, or no layer.
        """
        from gmcn.data.objects import select, trained_classes

        values = log_likelihoods(network, data.inputs, device, progress)
        scores = -log_likelihoods(network.typicality, data.inputs, device)
        bad = (~values.isfinite()).nonzero().squeeze(1)
        if len(bad):
            raise InputError(
                f"the log-likelihood of '{data.names[int(bad[0])]}' is not finite ({len(bad)} of {len(data)} objects); "
                "train the network again, with a larger floor or a lower training.learning_rate"
            )
        trained = trained_classes(metadata)
        known, dead = is_known(data, trained), network.dead()
        first = known.nonzero().squeeze(1)[:LIMIT]
        inputs: Any = select(data.inputs, first).to(device)
        labels = None if data.labels is None else data.labels[first]
        return {
            LOG_LIKELIHOOD.name: values[known].mean().item(),
            **outliers(scores, data, trained),
            **{AUC_OTHERS.name: None, "others": None},  # see beside
            **(_NO_CLUSTERS if dead is None else clustering(inputs, labels, network.assign(inputs))),
            "dead": dead,
            "layers": layers(network, inputs),
            "classes": trained,
            "log_likelihoods": values.tolist(),
            "scores": scores.tolist(),
        }

    def beside(
        self,
        network: Density,
        found: Mapping[str, Any],
        data: ObjectSet,
        others: ObjectSet,
        device: torch.device | str = "cpu",
    ) -> dict[str, Any]:
        """What :meth:`measure` leaves open: how well the objects of another data set are told from the known ones.

        ``found`` is what it has measured of ``data``. Objects whose density is too low for a number are the least
        likely.
        """
        import torch
        from sklearn.metrics import roc_auc_score

        known = -torch.tensor(found["scores"], dtype=torch.float64)[is_known(data, found["classes"])]
        values = log_likelihoods(network.typicality, others.inputs, device).nan_to_num(nan=-torch.inf)
        scores = -torch.cat([known, values]).clamp(min=torch.finfo(torch.float64).min)
        area = float(roc_auc_score((torch.arange(len(scores)) >= len(known)).numpy(), scores.numpy()))
        return {AUC_OTHERS.name: area, "others": {"dataset": others.metadata.get("dataset"), "objects": len(others)}}

    def pictures(self, seeds: Sequence[Mapping[str, Any]], data: ObjectSet, folder: Path) -> list[Path]:
        """The ROC curves of the first seed; of images also draws from its network, and the means of its components."""
        import torch

        from gmcn.data.objects import IMAGES
        from gmcn.models.loading import load
        from gmcn.pictures.charts import draw_grid, draw_roc

        first, drawn = seeds[0], []
        curves = roc_curves(torch.tensor(first["scores"], dtype=torch.float64), data, first["classes"])
        if curves:
            drawn.append(draw_roc(curves, folder / "outliers.png"))
        if data.kind == IMAGES:
            network: Any = load(first["model"]["path"])
            samples = network.sample(SHOWN, torch.Generator().manual_seed(0))
            centres, brightest = network.centres(), float(torch.as_tensor(data.inputs).max())
            for name, images in (("samples", samples), ("components", centres)):
                if images is not None:
                    drawn.append(draw_grid(images[:SHOWN].numpy(), brightest, folder / f"{name}.png"))
        return drawn

    def check(self, network: Network, metadata: Mapping[str, Any], path: Path) -> None:
        """The network has to be one of densities."""
        if network.tasks is None or "density" not in network.tasks:
            raise InputError(f"{path} is no density; train it again")

    def answer(
        self, network: Network, inputs: Inputs, metadata: Mapping[str, Any]
    ) -> list[dict[str, Any] | None]:  # of B objects
        """The log-likelihood in nats, and the share of training objects that are less typical: low for outliers.

        Of a file that says which classes its components have, also the most probable class, and its probability: what
        the components hold of it, weighted by their responsibilities.
        """
        import torch

        from gmcn.models import Density

        values, trained = network(inputs).double().cpu(), metadata.get("trained") or {}
        columns: dict[str, list[Any]] = {"log_likelihood": values.tolist()}
        if known := trained.get("quantiles"):
            judge: Any = network.typicality if isinstance(network, Density) else network
            typical = judge(inputs).double().cpu()
            if not torch.allclose(typical, values, rtol=0, atol=0, equal_nan=True):
                columns["typicality"] = typical.tolist()
            found = torch.searchsorted(torch.tensor(known, dtype=torch.float64), typical)
            columns["less_likely"] = (found / len(known)).tolist()
        if "classes" in trained and isinstance(network, Density) and isinstance(inputs, torch.Tensor):
            classes = torch.tensor(trained["classes"], dtype=torch.float64)
            best = (network.responsibilities(inputs).double().cpu() @ classes).max(-1)
            columns["class"] = [metadata["class_names"][place] for place in best.indices.tolist()]
            columns["probability"] = best.values.clamp(max=1).tolist()
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return [row if math.isfinite(row["log_likelihood"]) else None for row in rows]


def log_likelihoods(
    network: Callable[[Any], Tensor],
    inputs: Inputs,
    device: torch.device | str = "cpu",
    progress: Callable[[int], object] = lambda _: None,
) -> Tensor:  # [S]
    """What a network, or a function of a batch, says of S objects, in float64; ``progress`` is told how many more."""
    import torch

    from gmcn.data.objects import batches_in_order, count, each

    values = []
    with torch.no_grad():
        for part, _ in batches_in_order(inputs, None, BATCH):
            values.append(network(each(part, lambda tensor: tensor.to(device))).double().cpu())
            progress(count(part))
    return torch.cat(values)


def layers(network: Density, inputs: Tensor) -> list[dict[str, Any]]:  # [S, *shape]
    """Each layer of mixtures: what it says of itself, and the means over S objects and its positions.

    The means are in nats per position: of the exact log-likelihood, and of the bound that is trained. Those of two
    layers are densities of different things, and depend on the largest precision (``cap``): no scale that they share.
    """
    import torch

    about = {layer["name"]: layer for layer in network.about_layers()}
    found: dict[str, dict[str, Any]] = {}
    for part in inputs.split(BATCH):
        with torch.no_grad():
            maps = network.layers(part)
        for layer in maps:
            own = found.setdefault(layer["name"], {"positions": list(layer["bound"].shape[1:]), "objects": len(inputs)})
            for name in ("log_likelihood", "bound"):
                own[name] = own.get(name, 0.0) + layer[name].double().mean().item() * len(part) / len(inputs)
    return [{"name": name, **about.get(name, {}), **own} for name, own in found.items()]


def is_known(data: ObjectSet, trained: Sequence[int | str] | None) -> Tensor:  # [S] bool
    """Which objects are of the trained classes, all where these are None; :class:`InputError` if there are none."""
    import torch

    from gmcn.data.objects import places_of

    if trained is None or data.labels is None:
        return torch.ones(len(data), dtype=torch.bool)
    known = torch.isin(data.labels, torch.tensor(places_of(trained, data.class_names)))
    if not known.any():
        raise InputError(f"no test object of {data.metadata.get('dataset')} is of the classes that were trained on")
    return known


def outliers(scores: Tensor, data: ObjectSet, trained: Sequence[int | str] | None) -> dict[str, Any]:  # scores [S]
    """The area under the ROC curve of ``scores``, high for outliers: of all outliers (``auc``) and of each class.

    0.5 is chance. None, and no class, where there are no outliers.
    """
    from sklearn.metrics import roc_auc_score

    areas = {name: float(roc_auc_score(*pair)) for name, pair in _compared(scores, data, trained).items()}
    return {AUC.name: areas.pop(None, None), "outliers": areas}


def roc_curves(scores: Tensor, data: ObjectSet, trained: Sequence[int | str] | None) -> Compared:
    """By class of outliers, all (None) first: shares of known objects taken for outliers, and of outliers found."""
    from sklearn.metrics import roc_curve

    return {name: roc_curve(*pair)[:2] for name, pair in _compared(scores, data, trained).items()}


def _compared(scores: Tensor, data: ObjectSet, trained: Sequence[int | str] | None) -> Compared:
    """For all outliers (None), and each class of them that has objects: whether an object is one, and its score."""
    known = is_known(data, trained)
    if known.all():
        return {}
    assert data.labels is not None  # or all were known
    chosen: dict[str | None, Tensor] = {None: ~known}
    for place in data.labels[~known].unique().tolist():
        chosen[data.class_names[place]] = data.labels == place
    return {
        name: (outlier[known | outlier].numpy(), scores[known | outlier].numpy()) for name, outlier in chosen.items()
    }
