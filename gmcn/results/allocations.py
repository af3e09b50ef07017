"""Peak memory of a function on the CPU, by torch's own account."""

from __future__ import annotations

from typing import Any

import torch


def peak_of_allocations(function: Any) -> int:
    """Largest sum of tensor memory on the CPU that ``function`` holds at a time, in bytes."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profiler:
        function()
    # Not by a trace, which takes a file: a full disk would be taken for a lack of memory.
    events = profiler.profiler.kineto_results.events()
    memory = [event for event in events if event.name() == "[memory]" and event.device_type().name == "CPU"]
    now = peak = 0
    for event in sorted(memory, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak
