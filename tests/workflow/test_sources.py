"""An edit runs exactly those stages again whose numbers it can change."""

from __future__ import annotations

import pytest

from gmcn.data import KINDS
from gmcn.models import NETWORKS
from gmcn.stages import HOUSEKEEPING, STAGES
from gmcn.tasks import DEFAULT_TASK
from tests.conftest import ROOT
from tests.test_imports import GRAPH, MODULES, module_of


def modules(stage: str, **fields: str) -> set[str]:
    return {module_of(path) for path in STAGES[stage].files(ROOT, **fields) if path.suffix == ".py"}


def upstream(stage: str) -> set[str]:
    """The modules of all stages before it."""
    return {module for other in STAGES[stage].after for module in modules(other) | upstream(other)}


@pytest.mark.parametrize("stage", STAGES)
def test_imports_are_sources_of_the_stage_or_of_one_before_it(stage):
    allowed = modules(stage) | upstream(stage) | set(HOUSEKEEPING)
    # A package's front hands on what others ask it for.
    own = {module for module in modules(stage) if MODULES[module].name != "__init__.py"}
    assert not {module: sorted(GRAPH[module] - allowed) for module in own if GRAPH[module] - allowed}


@pytest.mark.parametrize("stage", STAGES)
def test_patterns_match_files(stage):
    for pattern in (*STAGES[stage].sources, *STAGES[stage].without):
        assert list(ROOT.glob(pattern.format(task="*", network="*", kind="*"))), pattern


def within(room: str, module: str, seen: set[str]) -> set[str]:
    """A module, and what it imports of its room, and so on."""
    if module not in seen:
        seen.add(module)
        for other in GRAPH[module]:
            if other.startswith(f"gmcn.{room}."):
                within(room, other, seen)
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_data_sets_has_its_reader_among_the_sources(kind):
    found = modules("sample", kind=kind)
    assert within("data", KINDS[kind].read.__module__, set()) <= found
    assert found < modules("sample")


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_has_its_modules_among_the_sources(network):
    found = modules("train", network=network)
    assert within("models", NETWORKS[network].__module__, set()) <= found
    assert found < modules("train")
    for task in NETWORKS[network].tasks or [DEFAULT_TASK]:
        own = modules("train", network=network, task=task)
        layers = {module: {name for name in GRAPH[module] if name.startswith("gmcn.nn.")} for module in own}
        layers.pop("gmcn.nn")
        assert not {module: names - own for module, names in layers.items() if names - own}


def test_layers_of_one_kind_of_network_are_sources_of_that_kind_alone():
    def kinds(path: str) -> list[str]:
        return [kind for kind in NETWORKS if ROOT / path in STAGES["train"].files(ROOT, network=kind, task="other")]

    assert kinds("gmcn/nn/gmm_layer.py") == ["dcgmm"]
    assert kinds("gmcn/nn/tree_decoder.py") == ["pointgmm", "registration"]
    assert kinds("gmcn/nn/norm.py") == kinds("csrc/common/gaussian.h") == list(NETWORKS)
    assert kinds("csrc/poses/poses_cpu.cpp") == kinds("gmcn/ops/poses.py") == kinds("csrc/inspect.cpp") == []


def test_the_fit_of_mixtures_is_a_source_of_their_networks_alone():
    sources = {kind: modules("train", network=kind) for kind in NETWORKS}

    def kinds(*names: str) -> list[str]:
        return [kind for kind in NETWORKS if sources[kind].issuperset(names)]

    # The last one has a prior.
    assert kinds("gmcn.fitting.gmm.fit", "gmcn.fitting.gmm.estimator") == ["gmm", "dcgmm", "pointgmm"]
    assert kinds("gmcn.mixture.density") == ["gmm", "dcgmm", "pointgmm", "registration"]
    assert kinds("gmcn.models.density") == ["gmm", "dcgmm"]


def test_what_no_stage_before_it_makes_is_a_source_of_a_stage_itself():
    """Densities have no fit before them, and some figures no network."""
    for network in ("gmm", "dcgmm", "pointgmm"):
        assert "gmcn.fitting.reference" in modules("train", network=network)
    assert {"gmcn.ops.relu_fit", "gmcn.ops.evaluate", "gmcn.mixture.mixture"} <= modules("draw-figure")
    assert ROOT / "csrc/relu_fit/operation.h" in STAGES["draw-figure"].files(ROOT)
    assert {"gmcn.mixture.comparisons", "gmcn.mixture.covariance"} <= modules("dynamics")


def test_housekeeping_is_no_source():
    assert not {module for stage in STAGES for module in modules(stage)} & set(HOUSEKEEPING)


def test_rules_read_their_sources_from_the_list():
    text = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    assert {stage for stage in STAGES if STAGES[stage].sources} == set(STAGES) - {"download"}
    assert all(f'src=sources("{stage}")' in text for stage in STAGES if STAGES[stage].sources)
