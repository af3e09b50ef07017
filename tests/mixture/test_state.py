"""Mixtures as named tensors: to the last bit, through a file, and with a sentence where they are none."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from gmcn import GaussianMixture
from gmcn.mixture import Full

from .workload import FAMILIES, density, points


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", [(), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_state_goes_through_a_file_to_the_last_bit(family, shape, dtype, tmp_path):
    mixture, x = density(family, shape).to(dtype), points(shape, 4, 3).to(dtype)
    state = mixture.state_dict()
    save_file(state, tmp_path / "mixture.safetensors")
    again = GaussianMixture.from_state_dict(load_file(tmp_path / "mixture.safetensors"))
    assert type(again.covariance) is type(mixture.covariance)
    assert torch.equal(again.log_prob(x), mixture.log_prob(x))
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, state[name])


def test_state_of_shared_and_strided_tensors_is_a_copy(tmp_path):
    numbers = torch.zeros(3, 3)
    factor = torch.eye(2).expand(3, 2, 2)  # as scikit-learn's "tied"
    mixture = GaussianMixture(numbers[:, 0], numbers[:, 1:], Full(factor))
    state = mixture.state_dict()
    numbers += 1
    assert (state["means"] == 0).all()
    save_file(state, tmp_path / "mixture.safetensors")
    logits = torch.tensor([0.0, -torch.inf, 0.0], requires_grad=True)
    state = GaussianMixture(logits, numbers[:, 1:], Full(factor)).state_dict()
    assert not state["logits"].requires_grad
    assert GaussianMixture.from_state_dict(state).weights.tolist() == pytest.approx([0.5, 0, 0.5])


def changed(**entries: torch.Tensor | None) -> dict[str, torch.Tensor]:
    state = density("low-rank").state_dict() | {name.replace("__", "."): value for name, value in entries.items()}
    return {name: value for name, value in state.items() if value is not None}


ERRORS = {
    "the state has no 'version'": {"version": None},
    "has version 2, and this gmcn reads 1: update": {"version": torch.tensor(2)},
    "has version .* and this gmcn reads 1": {"version": torch.ones(3)},
    "one family, Full, Diagonal, Frame, LowRank, got Low": {
        "LowRank__std": None,
        "LowRank__factor": None,
        "Low__std": torch.ones(1),
    },
    "got Full, LowRank": {"Full__factor": torch.ones(1)},
    "got none": {"LowRank__std": None, "LowRank__factor": None},
    "the state of a mixture has no 'LowRank.factor'": {"LowRank__factor": None},
    "has no 'means'": {"means": None},
    "has an unknown 'LowRank.rank'": {"LowRank__rank": torch.ones(1)},
    "weights do not sum to one": {"logits": torch.zeros(5).double()},
    "logits must be a tensor": {"logits": 3},
    r"means \[5, 4\] do not fit": {"means": torch.zeros(5, 4).double()},
    "LowRank.std must be positive": {"LowRank__std": torch.zeros(5, 3).double()},
}


@pytest.mark.parametrize("sentence", ERRORS)
def test_errors_are_one_sentence(sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        GaussianMixture.from_state_dict(changed(**ERRORS[sentence]))
    assert "\n" not in str(caught.value)
