"""The base class and the protocol that every task implements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from gmcn.data.augmentation import Augmentation, augment
from gmcn.data.objects import POINTS, Inputs, ObjectSet
from gmcn.data.views import Views
from gmcn.errors import InputError
from gmcn.mixture import Mixture
from gmcn.tasks.metric import Metric

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from gmcn.models import Network


class Settings(Protocol):
    """The settings of a training that objectives read."""

    label_smoothing: float
    logit_adjustment: float
    classes: Sequence[int | str] | None
    augmentation: Augmentation | None
    views: Views | None


class Objective:
    """The function that training minimises. A task inherits it; an edit of its file retrains the task's networks.

    ``metrics`` are numbers of every object, the loss first: their means are the columns of the history, for training
    and validation. ``watched`` is the one that the schedule "plateau" looks at, by its mean over the validation split
    (with ``training.fold``: in training).
    """

    metrics: ClassVar[tuple[Metric, ...]]
    watched: ClassVar[Metric]
    needs_labels: ClassVar[bool] = True
    of_some_classes: ClassVar[bool] = False  # whether objects of some classes can be left out
    adjusts_logits: ClassVar[bool] = False  # whether the frequencies of classes can be taken out of the answers
    of_views: ClassVar[bool] = False  # whether networks can be trained on a part of each object

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def traits(self, data: ObjectSet) -> dict[str, Any]:
        """Arguments of the network that follow from the data; a task whose outputs are not classes overrides this."""
        return data.traits

    def check(self, data: ObjectSet) -> None:
        """Raise :class:`gmcn.errors.InputError` where nothing can be trained on such objects."""
        if self.needs_labels and data.labels is None:
            raise InputError(f"the {data.kind} of {data.metadata.get('dataset')} have no labels, which this task needs")
        if self.settings.classes is not None and not self.of_some_classes:
            raise InputError("training.classes leaves classes out, which this task has to know; leave it out instead")
        if self.settings.logit_adjustment and not self.adjusts_logits:
            raise InputError("training.logit_adjustment is of networks that classify; leave it out")
        if self.settings.views is not None and not self.of_views:
            raise InputError("training.views are of networks that see clouds, or mixtures of them; leave them out")
        if self.settings.augmentation is not None:
            if not (isinstance(data.inputs, Mixture) or data.kind == POINTS):
                raise InputError(
                    f"training.augmentation varies mixtures and points, and these are {data.kind}; leave it out, or "
                    "set a `fit`"
                )
            self.settings.augmentation.check_dim(data.traits["dim"])

    def learn(self, labels: Tensor | None, classes: int) -> None:  # [S] of so many classes
        """What the loss has to know of all objects of the training split, also of those that are validated on."""

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> Inputs:
        """The batch as it is trained on, by random numbers of ``generator`` alone, one of the CPU: augmented."""
        augmentation = self.settings.augmentation
        return inputs if augmentation is None else augment(inputs, augmentation, generator)

    def fixed(self, inputs: Inputs) -> Inputs:
        """The whole batch as :meth:`measure` takes it, before it is divided: with chance that is the same each time."""
        return inputs

    def seen(self, inputs: Inputs) -> Inputs:
        """What the network is given of a batch as :meth:`loss` and :meth:`measure` take it."""
        return inputs

    def loss(
        self, network: Network, inputs: Inputs, labels: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:  # [], [B] each
        """The batch's mean loss in training, with the network's penalty; and the other ``metrics`` of each object."""
        raise NotImplementedError

    def measure(self, network: Network, inputs: Inputs, labels: Tensor | None) -> dict[str, Tensor]:  # [B] each
        """The ``metrics`` of each object of a batch that is not trained on, without smoothing and penalties."""
        raise NotImplementedError

    def facts(self, network: Network, inputs: Inputs, labels: Tensor | None) -> dict[str, Any]:
        """What the trained network's file says besides (``trained``), of the objects that were trained on."""
        return {}


class OfClouds(Objective):
    """The objective of networks that see a part of each cloud (``training.views``), of some classes, without labels."""

    name: ClassVar[str]
    needs_labels = False
    of_some_classes = True
    of_views = True

    @property
    def views(self) -> Views:
        """What the network sees."""
        return self.settings.views or Views()

    def check(self, data: ObjectSet) -> None:
        """Refuse objects that are no clouds."""
        super().check(data)
        if data.kind != POINTS:
            raise InputError(f"the task {self.name} takes points, and these are {data.kind}; set `fit: null`")

    def seen(self, inputs: Inputs) -> Tensor:  # [B, V, 3]
        """The first points, before those that it is judged by."""
        clouds: Any = inputs
        return clouds[:, : self.views.points]

    def facts(self, network: Network, inputs: Inputs, labels: Tensor | None) -> dict[str, Any]:
        """In which units clouds are: the least, median and largest distance of their farthest points from the origin.

        By it another cloud can be refused.
        """
        clouds: Any = inputs
        reach = clouds.norm(dim=-1).amax(1)
        return {"reach": [reach.min().item(), reach.median().item(), reach.max().item()]}


class Measures(Protocol):
    """Measures a trained network, draws the results, answers `gmcn predict`. An edit re-evaluates, never retrains."""

    metrics: tuple[Metric, ...]
    headline: Metric  # by which results are compared
    details: tuple[str, ...]  # what else of the measured is averaged over seeds, besides the metrics

    def measure(
        self,
        network: Network,
        data: ObjectSet,
        device: torch.device | str,
        progress: Callable[[int], object],
        metadata: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The metrics by name, and details, in types that JSON has; ``progress`` is told how many objects are done.

        A metric other than the headline may be None. ``metadata`` is that of the network's file.
        """
        ...

    def pictures(self, seeds: Sequence[Mapping[str, Any]], data: ObjectSet, folder: Path) -> list[Path]:
        """Draws the measurements of all seeds into a folder; each has its network's file as ``["model"]["path"]``."""
        ...

    def check(self, network: Network, metadata: Mapping[str, Any], path: Path) -> None:
        """Raise :class:`gmcn.errors.InputError` where the metadata of a network's file at ``path`` do not suit it."""
        ...

    def answer(
        self, network: Network, inputs: Inputs, metadata: Mapping[str, Any]
    ) -> list[dict[str, Any] | None]:  # of B objects
        """The answers of ``gmcn predict`` for each object, by name: texts, numbers, or a mapping of names to numbers.

        None for an object whose answer is not finite. ``metadata`` is that of the network's file.
        """
        ...
