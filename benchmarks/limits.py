"""How many pairs per second a machine could do at most: its rate of vector operations over the operations per pair.

A pair is one Gaussian at one point. In the centred form, W the whitening matrix, 3D, single precision:

    x - mu           3 subtractions
    t = W (x - mu)   6 multiply-adds
    -|t|^2           3
    exp2             range reduction, a polynomial of degree 5, the exponent: 7 with AVX-512, 11 with AVX2
    value            1 multiply-add

and going back, after the first four again, 1 for the weight, 2 for h = upstream x weight x exponential, 3 for h t, 3
and 6 for its sums, 6 for the gradient of the point.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
from argparse import Namespace
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
