"""A mixture as named tensors, for files of tensors such as safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import torch
from torch import Tensor

from gmcn.mixture.covariance import Covariance, Full
from gmcn.mixture.families import Diagonal, Frame, LowRank
from gmcn.mixture.tensors import check_floats, check_values

# Of the names and meanings below: a number more where an older reader would misread them.
VERSION = 1
FAMILIES: dict[str, type[Covariance]] = {family.__name__: family for family in (Full, Diagonal, Frame, LowRank)}
# How far the logarithm of the sum of all weights may be from 0 in float32.
NORMALISED = 1e-4


def state_of(
    logits: Tensor,  # [..., N]
    means: Tensor,  # [..., N, D]
    covariance: Covariance,  # [..., N]
) -> dict[str, Tensor]:
    """Copies of all numbers; those of the covariance are named by its family, as "LowRank.std"."""
    family = type(covariance)
    tensors = {"logits": logits, "means": means}
    tensors |= {f"{family.__name__}.{field.name}": getattr(covariance, field.name) for field in fields(family)}
    state = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    return {"version": torch.tensor(VERSION), **state}


def parameters_of(state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Covariance]:
    """Logits, means and covariance.

    Raises:
        ValueError: another version, an unknown family, a name that is missing or too many, or numbers that fit none.
    """
    if "version" not in state:
        raise ValueError("the state has no 'version': is it that of a GaussianMixture?")
    version = state["version"]
    if not isinstance(version, Tensor) or version.numel() != 1 or int(version) != VERSION:
        raise ValueError(f"the state has version {version}, and this gmcn reads {VERSION}: update gmcn")
    names = {name.split(".")[0] for name in state} - {"version", "logits", "means"}
    if len(names) != 1 or not names <= set(FAMILIES):
        said = ", ".join(sorted(names)) or "none"
        raise ValueError(f"the state must have covariances of one family, {', '.join(FAMILIES)}, got {said}")
    family = FAMILIES[names.pop()]
    own = [f"{family.__name__}.{field.name}" for field in fields(family)]
    expected = {"version", "logits", "means", *own}
    if set(state) != expected:
        wrong = [f"no '{name}'" for name in sorted(expected - set(state))]
        wrong += [f"an unknown '{name}'" for name in sorted(set(state) - expected)]
        raise ValueError(f"the state of a mixture has {' and '.join(wrong)}")
    logits = state["logits"]
    check_floats(logits=logits)
    check_values(logits.logsumexp(-1).abs() <= NORMALISED, "the state's weights do not sum to one")
    return logits, state["means"], family(*(state[name] for name in own))
