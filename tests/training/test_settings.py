"""Settings: what is refused, and the curves of the learning rate."""

from __future__ import annotations

import json

import pytest

from gmcn.artifacts import key_of, sha256
from gmcn.data import Augmentation
from gmcn.errors import InputError
from gmcn.launching import HOW
from gmcn.training import TrainingSettings
from gmcn.training.checkpoints import NEWER, training_key


def test_cosine_rises_linearly_and_falls_to_almost_nothing():
    settings = TrainingSettings(epochs=10, learning_rate=0.1, schedule="cosine", warmup_epochs=1)
    rates = [settings.learning_rate_at(step, 20) for step in range(200)]
    assert rates[:20] == pytest.approx([0.1 * (step + 1) / 20 for step in range(20)])
    assert rates[20] == 0.1
    assert rates[110] == pytest.approx(0.05)
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert 0 < rates[-1] < 1e-4 * 0.1


def test_step_and_constant():
    settings = TrainingSettings(epochs=9, learning_rate=1.0, schedule="step", warmup_epochs=0)
    assert [settings.learning_rate_at(step, 1) for step in range(9)] == pytest.approx([1] * 3 + [0.1] * 3 + [0.01] * 3)
    constant = TrainingSettings(learning_rate=0.3, schedule="constant", warmup_epochs=0)
    assert {constant.learning_rate_at(step, 5) for step in range(300)} == {0.3}


def test_augmentation_is_off_unless_it_is_asked_for_and_is_written_back():
    assert TrainingSettings.read({}).augmentation is None
    assert TrainingSettings.read({"augmentation": None}) == TrainingSettings()
    settings = TrainingSettings.read({"augmentation": {"rotation": "axis", "scaling": [0.5, 2]}})
    assert settings.augmentation == Augmentation("axis", scaling=(0.5, 2))
    assert TrainingSettings.read(json.loads(json.dumps(settings.as_dict()))) == settings


def test_a_fold_is_what_plateau_can_watch():
    settings = TrainingSettings.read({"fold": "2 of 5", "validation_fraction": 0, "schedule": "plateau"})
    assert settings.place == (2, 5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rte": 1}, "did you mean 'learning_rate'"),
        (
            {"schedule": "cosin"},
            "training: 'schedule' is 'cosin', but must be one of cosine, .*; did you mean 'cosine'",
        ),
        ({"schedule": "plateau", "validation_fraction": 0}, "plateau watches the validation loss"),
        ({"schedule": "plateau", "logit_adjustment": 1.0}, "plateau watches the loss of the answers"),
        ({"ema_decay": 0.9, "snapshots": [1]}, "'ema_decay' averages steps, which 'snapshots' knows nothing of"),
        ({"ema_decay": 0.9, "optimizer": "em"}, "'ema_decay' averages steps, which 'optimizer' knows nothing of"),
        ({"fold": "6"}, "'fold' cannot be '6': a fold and the number of all, as in '2 of 5'"),
        ({"fold": "6 of 5"}, "'fold' is '6 of 5', but there is no such fold"),
        ({"fold": "0 of 5"}, "'fold' cannot be '0 of 5'"),
        ({"fold": "1 of 1"}, "'fold' is '1 of 1', but there is no such fold"),
        ({"fold": 0.2}, "'fold' is 0.2, but must be text"),
        ({"fold_duplicates": "apart"}, "'fold_duplicates' is 'apart', but must be one of together, ignored"),
        ({"batch_size": 1}, "training: 'batch_size' is 1, but must be at least 2"),
        ({"epochs": 0}, "training: 'epochs' is 0, but must be at least 1"),
        ({"epochs": True}, "'epochs' is True, but must be a whole number"),
        ({"epochs": 3, "warmup_epochs": 4}, "'warmup_epochs' is 4, but must be at most the 3 'epochs'"),
        ({"batch_size": 3, "devices": 2, "nodes": 2}, "'batch_size' is 3, but must be at least 1 for each of the 4"),
        ({"batch_size": 9, "micro_batches": 5}, "'micro_batches' is 5, but must be at most 4 for a 'batch_size' of 9"),
        ({"learning_rate": 0}, "'learning_rate' is 0, but must be greater than 0"),
        ({"label_smoothing": 1}, "'label_smoothing' is 1, but must be less than 1"),
        ({"step_factor": 0}, "'step_factor' is 0, but must be greater than 0"),
        ({"step_factor": 1, "schedule": "plateau"}, "'step_factor' is 1, but must be less than 1"),
        ({"checkpoint_minutes": -1}, "'checkpoint_minutes' is -1, but must be at least 0"),
        ({"validation_fraction": 1.0}, "'validation_fraction' is 1.0, but must be at most 0.9"),
        ({"augmentation": {"rotate": "any"}}, "training: unknown key 'augmentation.rotate'; did you mean 'rotation'"),
        ({"augmentation": {"dropping": 1}}, "training: 'augmentation.dropping' is 1, but must be less than 1"),
        ({"learning_rate": float("nan")}, "'learning_rate' is nan, but must be a number"),
    ],
)
def test_impossible_settings_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        TrainingSettings.read(values)


def test_checkpoints_of_older_code_are_gone_on_with(mixtures, settings):
    """A setting that is new leaves the key as it was, as long as a training does what all did before."""
    training = TrainingSettings.read(settings["training"]).as_dict()
    told = {key: value for key, value in training.items() if key not in (*HOW, *NEWER)}
    older = key_of("classification", settings["network"], told, 0, sha256(mixtures))
    assert training_key(mixtures, settings, 0) == older
    for key, value in {"optimizer": "wasserstein", "weight_decay": 0.1, "snapshots": [1], "classes": [0]}.items():
        changed = {**settings, "training": {**settings["training"], key: value}}
        assert training_key(mixtures, changed, 0) != older
