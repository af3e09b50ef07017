"""How many pairs per second a machine could do at most: its rate of vector operations over the operations per pair.

A pair is one Gaussian at one point. In the centred form, W the whitening matrix, 3D, single precision:

    x - mu           3 subtractions
    t = W (x - mu)   6 multiply-adds
    -|t|^2           3
    exp2             range reduction, a polynomial of degree 5, the exponent: 7 with AVX-512, 11 with AVX2
    value            1 multiply-add

and going back, after the first four again, 1 for the weight, 2 for h = upstream x weight x exponential, 3 for h t, 3
and 6 for its sums, 6 for the gradient of the point.

convolve_relu_nodes has components in its lanes and goes over the nodes. Forward a pair costs the same 20; going back,
after the first four again (19 with AVX-512), 2 for h = upstream x exponential and for weight x exponential, 1 for the
weight, 3 for h t, 3 and 6 for its sums, 6 for W^T t and 3 for the gradient of the node: 43. What each component costs
besides, however few the nodes, counts as well (``NODE_OPERATIONS``), and the bytes that go through memory. Sorting and
the tree have no limit that a data sheet gives; they count as nothing.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import time
from argparse import Namespace
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from gmcn import _inspect

# Operations per pair (forward, backward) that compete for the units which also do multiply-adds. With AVX-512 all do.
# Narrower additions, subtractions and comparisons have a unit of their own on current cores and are left out with AVX2;
# without fused multiply-add, multiplications and additions are measured and counted one by one.
OPERATIONS = {"avx512": (20, 40), "avx2": (16, 33), "baseline": (35, 67)}
# Issue slots per pair (forward, backward) by sets of weights, counted in what nvcc 13.0 makes of the kernels for sm_90:
# 63 / 4 and 67 / 4 in loops over four points. The backward pass goes over the pairs twice, for components and points.
SLOTS = {1: (15.75, 59.75), 2: (16.75, 63.0)}
LANES_PER_SM = 4 * 32
# The same of convolve_relu_nodes, and its operations per component (forward, backward). Forward: 10 to convolve, and
# whitening, whose six divisions and three roots hold the divider for 10 and 12 cycles each with AVX-512 (5 and 6 with
# AVX2, 3 and 3 baseline; measured) and count as the two multiply-adds of each such cycle; 27 others fit beside them.
# Backward: all this again, 64 for the gradients of the Gaussian, 22 to add them to data and kernel, 24 (47 for every
# second component) for its share in its node.
NODE_OPERATIONS = {
    "avx512": ((20, 43), (202, 312)),
    "avx2": ((16, 35), (97, 182)),
    "baseline": ((35, 69), (64, 214)),
}


def pair_limits(options: Namespace, weight_sets: int = 1) -> tuple[float, float]:
    """Pairs per second at most, forward and forward + backward, of all threads or of the GPU."""
    if options.device == "cuda":
        rate = torch.cuda.get_device_properties(0).multi_processor_count * LANES_PER_SM * clock_hz()
        forward, backward = SLOTS[weight_sets]
    else:
        rate = vector_rate(options.threads, seconds=0.01 if options.smoke else 0.05)
        forward, backward = OPERATIONS[_inspect.cpu_path()]
        forward += weight_sets - 1  # another multiply-add for the value, and two for the weight and h
        backward += 2 * (weight_sets - 1)
    return rate / forward, rate / (forward + backward)


def node_limits(
    options: Namespace, pairs: Sequence[float], components: float, traffic: Sequence[float]
) -> tuple[float, float]:
    """Seconds that convolve_relu_nodes takes on the CPU at least, forward and forward + backward.

    ``pairs`` that are visited and bytes of ``traffic`` are those forward and backward.
    """
    rate = vector_rate(options.threads, seconds=0.01 if options.smoke else 0.05)
    bandwidth = memory_rate(2**20 if options.smoke else 2**26)
    forward, backward = (
        (count * of_pair + components * of_component) / rate + moved / bandwidth
        for count, moved, of_pair, of_component in zip(
            pairs, traffic, *NODE_OPERATIONS[_inspect.cpu_path()], strict=True
        )
    )
    return forward, forward + backward


def memory_rate(size: int) -> float:
    """Bytes per second that torch's threads read and write when they copy so many; the best of five."""
    source, target = torch.ones(2, size, dtype=torch.uint8)

    def run() -> float:
        began = time.perf_counter()
        target.copy_(source)
        return 2 * size / (time.perf_counter() - began)

    return max(run() for _ in range(5))


def vector_rate(threads: int, seconds: float) -> float:
    """Single-precision multiply-adds per second that so many threads do together; the best of five."""

    def run(_: int) -> float:
        return _inspect.vector_rate(seconds)

    with ThreadPoolExecutor(threads) as pool:
        return max(sum(pool.map(run, range(threads))) for _ in range(5))


@functools.cache
def clock_hz() -> float:
    """The GPU's clock under load, as its driver reports it; its highest where there is no nvidia-smi."""
    if shutil.which("nvidia-smi") is None:
        return 1e3 * torch.cuda.get_device_properties(0).clock_rate
    busy = torch.rand(4096, 4096, device="cuda")
    for _ in range(800):  # seconds of queued work, which outlast the question
        busy = (busy @ busy).clamp(0, 1)
    query = ["nvidia-smi", "--query-gpu=clocks.sm", "--format=csv,noheader,nounits", "--id=0"]
    answer = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout
    torch.cuda.synchronize()
    return 1e6 * float(answer)
