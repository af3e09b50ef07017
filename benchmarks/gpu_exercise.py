"""Every kernel on the GPU beside the CPU: values and gradients, in float32 and float64, a verdict on each.

Against float64 on the CPU. In float32 what the CPU's own kernel deviates by stands beside it, which the GPU may do four
times; where a reduction took other merges, the masses of its mixtures count. A case is on the disk as begun before it
runs: started again, this goes on behind a case that hung, crashed or left the GPU unusable (status 3).
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from common import plain
from torch import Tensor

import gmcn
from gmcn.artifacts import read_json, write_json
from gmcn.errors import brief
from tests.sanitizers.exercise import DTYPES, SIZES, Case, cases, differentiated

# Between merges or cuts, which rounding may change.
DECIDES = ("reduce_treehem", "convolve_reduce_treehem", "convolve_fit", "convolve_relu_nodes")
SMALLEST = {torch.float32: 2e-5, torch.float64: 1e-9}  # a deviation below it is good
BEGUN = "NOT FINISHED"
UNUSABLE = 3  # the status after an error that leaves the GPU unusable to this process


def error_of(actual: Sequence[Tensor], exact: Sequence[Tensor]) -> float:
    """Largest deviation of any tensor, relative to its largest exact value, or a thousandth of that of all tensors."""
    least = 1e-3 * max(tensor.abs().max() for tensor in exact)
    pairs = zip((tensor.cpu().double() for tensor in actual), exact, strict=True)
    errors = [(one - other).abs().max() / other.abs().max().clamp(min=least) for one, other in pairs]
    return float(torch.stack(errors).max())  # not Python's max, which may pass over what is not a number


def mass_error(actual: Sequence[Tensor], exact: Sequence[Tensor]) -> float:
    """Largest deviation of a mixture's sum of weights, relative to that of their magnitudes."""
    one, other = actual[0].cpu().double(), exact[0]
    return float(((one.sum(-1) - other.sum(-1)).abs() / other.abs().sum(-1)).max())


def compare(case: Case, device: str, dtype: torch.dtype) -> dict[str, Any]:
    exact = differentiated(case, "cpu", torch.float64)
    begin = time.monotonic()
    found = differentiated(case, device)
    if device == "cuda":
        torch.cuda.synchronize()
    seconds = time.monotonic() - begin
    errors = [error_of(*pair) for pair in zip(found, exact, strict=True)]
    own = [0.0, 0.0]
    if dtype == torch.float32:
        own = [error_of(*pair) for pair in zip(differentiated(case, "cpu"), exact, strict=True)]
    allowed = [max(SMALLEST[dtype], 4 * error) for error in own]
    within = all(math.isfinite(error) and error <= most for error, most in zip(errors, allowed, strict=True))
    verdict = "good" if within else "WRONG"
    if verdict == "WRONG" and case[0] in DECIDES and dtype == torch.float32 and mass_error(found[0], exact[0]) < 1e-4:
        verdict = "other merges"
    row = {"values": errors[0], "gradients": errors[1], "CPU, values": own[0], "CPU, gradients": own[1]}
    return row | {"verdict": verdict, "seconds": seconds}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda", help="where to compute")
    parser.add_argument("--output", type=Path, required=True, help="folder of exercise.json")
    options = parser.parse_args()
    print(gmcn.info(), flush=True)
    path = options.output / "exercise.json"
    rows: list[dict[str, Any]] = read_json(path)["rows"] if path.exists() else []
    done = [tuple(row.values())[:4] for row in rows]
    for dtype in DTYPES:
        for dim, n in [(dim, n) for dim in (3, 2) for n in (*SIZES, 640)]:
            for case in cases(dim, n, dtype):
                key = (case[0], str(dtype).removeprefix("torch."), dim, n)
                if key in done:
                    continue
                row: dict[str, Any] = dict(zip(("operation", "dtype", "D", "N"), key, strict=True))
                rows.append(row | {"verdict": BEGUN})
                write_json(path, {"rows": rows})
                unusable = False
                try:
                    row |= compare(case, options.device, dtype)
                except Exception as error:  # of one case, which may end no other
                    row |= {"verdict": f"FAILED: {brief(error)}"}
                    unusable = _unusable(options.device)
                rows[-1] = plain(row)
                write_json(path, {"rows": rows})
                print(*(f"{cell:.2g}" if isinstance(cell, float) else cell for cell in row.values()), flush=True)
                if unusable:
                    return UNUSABLE
    bad = [row for row in rows if row["verdict"] not in ("good", "other merges")]
    print(f"{len(rows)} cases, {len(bad)} of them not good")
    return int(bool(bad))


def _unusable(device: str) -> bool:
    try:
        if device == "cuda":
            torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
