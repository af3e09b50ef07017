"""Names of targets that the configuration does not know."""

from __future__ import annotations

import os

import pytest

from gmcn import config
from gmcn.errors import InputError, unknown
from tests.config.examples import REAL


@pytest.mark.parametrize(
    ("target", "part"),
    [
        ("results/digit_treehem2.json", "unknown data set 'digit'; did you mean 'digits'?"),
        ("results/digits_treehem.json", "unknown variant 'treehem'; did you mean"),
        ("results/digits.json", "names no variant"),
        ("results/runs/digits_nothing/rmse.json", "unknown variant 'nothing'"),
        ("results/mixtures/digits_kmeans17.safetensors", "unknown fit 'kmeans17'"),
        ("results/rivals/digits_ntkk.json", "unknown rival 'ntkk'; did you mean 'ntk'?"),
        ("results/rivals/digit_ntk.json", "unknown data set 'digit'"),
        ("results/points/digit.safetensors", "unknown data set 'digit'"),
        ("results/tables/mnist2.md", "unknown table 'mnist2'; did you mean 'mnist'?"),
        ("results/figures/figure4.png", "is no figure: they are called .*, and figure2, figure3"),
    ],
)
def test_unknown_names_in_targets(target, part):
    with pytest.raises(InputError, match=part.replace("?", r"\?")) as error:
        config.check_target(REAL, target)
    assert "known: " in str(error.value) or "called" in str(error.value)


def test_all_figures_need_a_network_for_those_that_show_one():
    config.check_target(REAL, "results/figures/all")
    without = {key: value for key, value in REAL.items() if key != "illustrations"}
    with pytest.raises(InputError, match=r"no network for the paper's figures: add illustrations\.result"):
        config.check_target(without, "results/figures/all")


@pytest.mark.parametrize("results", ["/data/results", "results"])
def test_a_target_may_be_named_from_the_root(results):
    target = os.path.abspath(f"{results}/digits_treehem.json")
    with pytest.raises(InputError, match="unknown variant 'treehem'"):
        config.check_target({**REAL, "results": results}, target)


def test_of_many_known_names_the_closest_are_shown():
    sentence = str(unknown("variant", "small7", [f"large{number}" for number in range(20)] + ["small"]))
    assert sentence.startswith("unknown variant 'small7'; did you mean 'small'? (known: ")
    assert sentence.endswith(" and 9 more)")


@pytest.mark.parametrize(
    "target", ["results/digits_treehem2.json", "all", "-n", "--report", "results/report.zip", "results", "2"]
)
def test_known_targets_and_other_arguments_pass(target):
    config.check_target(REAL, target)
