"""Why a training stops before its last epoch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gmcn.data.objects import Inputs


class NonFiniteError(RuntimeError):
    """Training met a value that is not finite; the last good checkpoint is still there."""


class OutOfMemoryError(RuntimeError):
    """The training needs more memory than the device has."""


class LostRankError(RuntimeError):
    """Another process of this training has ended."""


class Interrupted(BaseException):
    """A signal asked the training to stop; its state has been saved."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


def first_non_finite_layer(model: nn.Module, inputs: Inputs) -> str | None:  # of B objects
    """Name of the first layer of ``model`` whose output is not finite for this batch; None if all are.

    The compiled operations refuse such input themselves: then it is the layer that the error left.
    """
    found: list[str] = []
    running: list[str] = []

    def leave(name: str):
        def check(_module: nn.Module, _inputs: tuple, output: object) -> None:
            running.remove(name)
            if any(not tensor.isfinite().all() for tensor in _tensors(output)):
                found.append(name)

        return check

    handles = []
    for name, module in model.named_modules():
        if name:
            handles.append(module.register_forward_pre_hook(lambda *_, name=name: running.append(name)))
            handles.append(module.register_forward_hook(leave(name)))
    try:
        with torch.no_grad():
            model(inputs)
    except RuntimeError as error:
        if not is_numerical(error):
            raise
        found.extend(running[-1:])
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def is_numerical(error: RuntimeError) -> bool:
    """True if an operation refused its input because of its values."""
    return "not finite" in str(error)


def non_finite_gradients(module: nn.Module) -> list[str]:
    """Names of the parameters whose gradient holds a value that is not finite."""
    gradients = ((name, parameter.grad) for name, parameter in module.named_parameters())
    return [name for name, gradient in gradients if gradient is not None and not gradient.isfinite().all()]


def _tensors(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (tuple, list)):
        return [tensor for item in value for tensor in _tensors(item)]
    return []
