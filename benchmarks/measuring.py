"""Time, memory and error of one way to do a task; a way that fails is a row that says how."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import statistics
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import benchmark

from gmcn import Mixture
from gmcn.errors import is_out_of_memory

MEMORY, TIME, ABSENT, FAILED = "out of memory", "out of time", "not installed", "failed"


class NotApplicableError(Exception):
    """A way that cannot do this task at all, or is not installed; the message is the row's remark."""


def seconds_of(function: Callable[[], Any], options: Namespace) -> float:
    """Median seconds of a call after a warm-up; on the GPU between events, so that its own clock counts."""
    function()
    if options.device == "cuda":
        return _seconds_between_events(function, options.seconds)
    timer = benchmark.Timer("function()", globals={"function": function}, num_threads=options.threads)
    return timer.blocked_autorange(min_run_time=options.seconds).median


def _seconds_between_events(function: Callable[[], Any], least: float) -> float:
    """Median over rounds of calls, one behind the other as in a training, where launches hide behind work."""
    rounds: list[float] = []
    calls, deadline = 1, time.monotonic() + least
    while len(rounds) < 4 or time.monotonic() < deadline:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(calls):
            function()
        end.record()
        end.synchronize()
        rounds.append(begin.elapsed_time(end) / 1e3 / calls)
        calls = max(1, min(20, round(0.02 / max(rounds[-1], 1e-6))))
    return statistics.median(rounds[1:])  # the first has one call


def peak_of(function: Callable[[], Any], options: Namespace) -> float | None:
    """MiB that a call needs at its peak above what was held before; None where it cannot be measured.

    On the GPU: torch's allocator. On the CPU: the process's resident memory, so that what any library allocates past
    torch counts, too.
    """
    if options.device == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        function()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # else memory that was freed before would be used again, unseen
        Path("/proc/self/clear_refs").write_text("5")  # a new peak from here on
        before = _resident("VmRSS")
        function()
        return max(0, _resident("VmHWM") - before) / 1024
    return None


def sample_of(count: int, most: int = 4) -> Tensor:
    """The rows of a large batch whose exact values are computed: the first, the last and some between, or all of few.

    Where they are computed on the CPU, all would take minutes.
    """
    return torch.linspace(0, count - 1, most).long() if count > 32 else torch.arange(count)


def deviation(actual: Sequence[Tensor], exact: Sequence[Tensor], rows: Tensor | None = None) -> float:
    """Largest deviation of any tensor, relative to the largest magnitude of the exact one, which may have some rows."""
    pairs = zip((_of_rows(one, rows).double() for one in actual), exact, strict=True)
    errors = [(one - other).abs().max() / other.abs().max() for one, other in pairs]
    return float(torch.stack(errors).max())  # not Python's max, which may pass over what is not a number


def _of_rows(tensor: Tensor, rows: Tensor | None) -> Tensor:
    return (tensor.detach() if rows is None else tensor.detach()[rows.to(tensor.device)]).cpu()


def tensors(value: Tensor | Mixture) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else list(value)


def differentiated(
    operation: Callable[..., Tensor | Mixture], inputs: Sequence[Tensor], upstream: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Gradients of an operation's outputs, contracted with ``upstream``."""
    outputs = [tensor for tensor in tensors(operation(*inputs)) if tensor.requires_grad]
    return torch.autograd.grad(outputs, inputs, upstream[: len(outputs)], allow_unused=True)


def measure(
    operation: Callable[..., Tensor | Mixture],
    inputs: Sequence[Tensor],
    exact: Sequence[Tensor] | None,
    options: Namespace,
    *,
    backward: bool = True,
    rows: Tensor | None = None,
) -> dict[str, Any]:
    """Seconds forward and with the gradient of all inputs, the values and their error, peak memory in MiB; a remark.

    ``exact`` has all values, or those of ``rows`` of the batch.

    A way that fails in its backward pass keeps what it did forward. Whatever goes wrong is a remark: no rival may end
    the benchmark or drop out of its table.
    """
    found: dict[str, Any] = dict.fromkeys(("values", "forward", "both", "error", "peak", "remark"))
    try:
        with given_up_after(options.limit), torch.no_grad():
            found["values"] = values = tensors(operation(*inputs))
            found["error"] = None if exact is None else deviation(values, exact, rows)
            found["forward"] = seconds_of(lambda: operation(*inputs), options)
            found["peak"] = peak_of(lambda: operation(*inputs), options)
        if backward:
            generator = torch.Generator().manual_seed(1)
            upstream = [torch.randn(value.shape, generator=generator).to(value) for value in values]
            leaves = [tensor.clone().requires_grad_() for tensor in inputs]
            with given_up_after(options.limit):
                found["both"] = seconds_of(lambda: differentiated(operation, leaves, upstream), options)
                found["peak"] = peak_of(lambda: differentiated(operation, leaves, upstream), options)
        else:
            found["remark"] = "forward only"
    except NotApplicableError as reason:
        found["remark"] = str(reason)
    except TimeoutError:
        found["remark"] = f"{TIME} ({options.limit:g} s)"
    except Exception as error:  # of any library
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        found["remark"] = MEMORY if is_out_of_memory(error) else f"{FAILED}: {reason}"
        torch.cuda.empty_cache()
    return found


@contextlib.contextmanager
def remarked(row: dict[str, Any], options: Namespace) -> Iterator[None]:
    """Gives up after the limit; a lack of time or memory in the block becomes the row's remark."""
    try:
        with given_up_after(options.limit):
            yield
    except TimeoutError:
        row["remark"] = f"{TIME} ({options.limit:g} s)"
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        row["remark"] = MEMORY


@contextlib.contextmanager
def given_up_after(seconds: float) -> Iterator[None]:
    """TimeoutError in the block after that time, as soon as Python gets a turn."""

    def give_up(signal_number: int, frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def memory_limited(options: Namespace) -> Iterator[None]:
    """On the CPU: asking for more than is free raises MemoryError, where Linux would end the process later."""
    try:
        import resource

        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
        before = resource.getrlimit(resource.RLIMIT_AS)
    except (ImportError, OSError, StopIteration):
        yield
        return
    if options.device == "cuda":  # drivers reserve addresses that are no memory
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (_resident("VmSize") * 1024 + free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _resident(field: str) -> int:
    """KiB of a field of this process's status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))
