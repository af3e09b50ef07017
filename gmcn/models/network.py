"""The interface through which training, evaluation and tracking use every network."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from gmcn.declared import DERIVED, at_least, below, check
from gmcn.errors import InputError

# What the data say of every network that classifies, and the training.
Classes = Annotated[int, at_least(1), DERIVED, "Number of classes."]
Dim = Annotated[Literal[2, 3], DERIVED, "Dimension of the data (D)."]
Probability = Annotated[float, at_least(0), below(1)]
InitialSeed = Annotated[int | None, DERIVED, "Of the initial parameters; None draws them from torch's generator."]


class Network(nn.Module):
    """A network that settings describe; :func:`gmcn.models.build` makes it.

    The parameters of a network's constructor declare its options (:mod:`gmcn.declared`): arguments are checked against
    them, raising :class:`gmcn.errors.InputError`, and the configuration's schema is made of them.

    ``takes`` are the kinds of objects that it may be given, ``tasks`` those for which alone it can be trained (None:
    whichever has a use for its outputs). ``config`` holds the arguments that make the same network
    again, in types that JSON has. ``retired`` are options that are no more, with the one value that older files may
    still give them.
    """

    takes: ClassVar[tuple[str, ...]] = ("mixtures",)
    tasks: ClassVar[tuple[str, ...] | None] = None
    retired: ClassVar[Mapping[str, Any]] = {}
    config: dict[str, Any]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        initialise: Callable[..., None] = cls.__init__

        @functools.wraps(initialise)
        def checked(self: Network, *arguments: Any, **named: Any) -> None:
            if "config" not in self.__dict__:  # set already where a subclass calls this
                bound = inspect.signature(cls).bind(*arguments, **named)
                bound.apply_defaults()
                check(cls, bound.arguments, cls.__name__)
                self.config = {name: _plain(value) for name, value in bound.arguments.items()}
            initialise(self, *arguments, **named)

        setattr(cls, "__init__", checked)  # noqa: B010  (mypy refuses the assignment)

    @property
    def dtype(self) -> torch.dtype:
        """That of the parameters, which inputs are cast to."""
        return next(self.parameters()).dtype

    def outputs_and_penalty(self, inputs: Any) -> tuple[Any, Tensor | float]:
        """The network's outputs, and a penalty that training adds to the loss, []."""
        return self(inputs), 0.0

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Parameters that the optimiser moves at rates of their own, with what :meth:`relative_rate` knows them by."""
        return [{"params": list(self.parameters())}]

    def relative_rate(self, group: Mapping[str, Any]) -> float:
        """The learning rate of a group's next step, over that of the training."""
        return group.get("relative", 1.0)

    def before_step_(self, done: float) -> None:
        """Called before the gradient of each step; ``done`` is the share of the training that is behind."""

    def after_step_(self, rate: float, kernel_decay: float) -> None:
        """Called after each step of the optimiser with its learning rate and the settings' ``kernel_decay``."""

    def start_(self, inputs: Any, seed: int, labels: Tensor | None = None) -> None:
        """Called before the first step of the optimiser with all inputs that are trained on, and their labels [S]."""

    def finish_(self, inputs: Any) -> None:
        """Called after the last step with all inputs that were trained on, in evaluation mode."""

    def fit_(self, inputs: Any, iterations: int, seed: int, progress: Callable[[int, float], object]) -> dict[str, Any]:
        """The training of ``optimizer: em``, on all inputs in each of its iterations.

        ``progress`` is told the iteration, from 1, and the task's mean loss; the parameters are then those of that
        iteration. Returns facts for ``training.json``. Raises :class:`InputError` for a network that has no such
        training.
        """
        raise InputError(f"{type(self).__name__} is not fitted by em; set training.optimizer to adam")

    def parameter_counts(self) -> dict[str, int]:
        """``parameters``, how many numbers are trained, and whatever part of them has a name of its own."""
        return {"parameters": sum(parameter.numel() for parameter in self.parameters())}


def _plain(value: Any) -> Any:
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


@contextlib.contextmanager
def seeded(seed: int | None, network: nn.Module) -> Iterator[None]:
    """Initial parameters from ``seed``, the global generator left alone; from the global one where it is None.

    A seed's are drawn on the CPU, and the network then goes to torch's default device.
    """
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        yield
    network.to(torch.get_default_device())
