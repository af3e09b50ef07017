"""The Wasserstein flow in the training stage: it learns, and what cannot be is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from gmcn.data import sample
from gmcn.errors import InputError
from gmcn.training import NonFiniteError, train


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "digits.safetensors"
    sample("digits", settings={"kind": "digits", "test_fraction": 0.25, "seed": 0}, downloads=None, output=path)
    return path


def trained(digits: Path, output: Path, network: dict | None = None, **training):
    settings = {
        "network": {"kind": "gm-mlp", "components": 10, **(network or {})},
        "training": {"epochs": 10, "batch_size": 32, "optimizer": "wasserstein", "learning_rate": 0.2, **training},
    }
    return train(digits, settings=settings, seed=0, output=output, device="cpu", threads=1)


@pytest.mark.parametrize(
    ("network", "training"),
    [
        ({"covariance": "low-rank"}, {}),
        ({"covariance": "diagonal", "activation": "gelu"}, {}),
        ({"covariance": "full"}, {}),
        ({"train_weights": True, "dropout": 0.1}, {"fisher_rao": 0.1}),
    ],
)
def test_it_learns_digits(digits, tmp_path, network, training):
    assert trained(digits, tmp_path, network, **training)["metrics"]["validation_accuracy"] > 0.9


def test_a_rate_that_diverges_names_the_layer(digits, tmp_path):
    with pytest.raises(NonFiniteError, match=r"layers\.0.*try a lower training\.learning_rate"):
        trained(digits, tmp_path, learning_rate=1e12)


def test_a_rate_that_diverges_is_the_reason_also_where_weights_move(digits, tmp_path):
    with pytest.raises(NonFiniteError, match=r"training stopped.*try a lower training\.learning_rate"):
        trained(digits, tmp_path, {"train_weights": True}, learning_rate=1e12, fisher_rao=1e-14)


def test_what_cannot_be_is_one_sentence(digits, tmp_path):
    with pytest.raises(InputError, match="'fisher_rao' is a rate of the 'optimizer' wasserstein"):
        trained(digits, tmp_path, optimizer="adam", fisher_rao=0.1)
    with pytest.raises(InputError, match="a layer does not train; set `train_weights`"):
        trained(digits, tmp_path, fisher_rao=0.1)
    with pytest.raises(InputError, match="'optimizer' is 'rprop', but must be one of"):
        trained(digits, tmp_path, optimizer="rprop")
    with pytest.raises(InputError, match="leaves one of 10 components all the weight"):
        trained(digits, tmp_path, {"train_weights": True}, fisher_rao=1e7)
