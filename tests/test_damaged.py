"""Configurations, JSON and journals that somebody else wrote: a result or one sentence, and nothing is executed."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from gmcn import config
from gmcn.artifacts import load_tensors, read_json, read_metadata, save_tensors
from gmcn.errors import InputError
from gmcn.tracking.delivery import send_left_over
from gmcn.tracking.journal import FOLDER, Journal
from tests.config.examples import SMALL
from tests.conftest import ROOT
from tests.damage import EDITS, VALUES, altered, fuzz, outcome, replaced

DEEP = "[" * 100_000
BOMB = "a0: &a0 {k: [x, x, x, x, x, x, x, x, x]}\n" + "".join(
    f"a{level}: &a{level} {{k: [{', '.join([f'*a{level - 1}'] * 9)}]}}\n" for level in range(1, 12)
)
MERGED = "a0: &a0 {k: x}\n" + "".join(
    f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 9)}]}}\n" for level in range(1, 12)
)


def loaded(folder, content: bytes):
    path = folder / "config.yaml"
    path.write_bytes(content)
    return outcome(config.load, path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!python/object/apply:os.system ['touch {0}/executed']", "could not determine a constructor"),
        ("a: !!python/object/new:pathlib.Path ['{0}']", "could not determine a constructor"),
        ("a: !!python/name:os.system ''", "could not determine a constructor"),
        (f"a: {DEEP[:2000]}", "RecursionError"),
        (f"a: {DEEP[:60_000]}", "RecursionError"),  # ends the process in the loader in C
        ("a: " + "{b: " * 2000, "RecursionError"),
        ("a: &a [*a]", "with its aliases written out it has more than"),
        ("a: &a {b: *a}", "with its aliases written out it has more than"),
        (BOMB, "with its aliases written out it has more than"),
        (MERGED, "with its aliases written out it has more than"),
        (f"a: &a {'x' * 20_000}\nb: [{'*a, ' * 100}]", "with its aliases written out it has more than"),
        ("a: 2024-99-99", "ValueError: month must be in"),
        ("a: !!bool perhaps", "KeyError"),
        ("a: !!int ''", "IndexError"),
        ("a: !!timestamp now", "AttributeError"),
        (f"a: {'9' * 5000}", "4300 digits"),
        ("a: 2024-01-01", "neither text nor number"),
        ("a: .nan", "neither text nor number"),
        ("a: .inf", "neither text nor number"),
        ("? [a, b]\n: c", "found unhashable key"),
        ("? !!timestamp 2024-01-01\n: c", "a name is 2024-01-01 and no text to YAML"),
        ("a: !!set {b}", "neither text nor number"),
        ("a: !!binary aGk=", "neither text nor number"),
        ("a: b\0", "special characters are not allowed"),
        ("5: b", "a name is 5 and no text to YAML"),
        (f"{BOMB}\n? *a8\n: b\n", "with its aliases written out it has more than"),
        (f"? {'x' * 9000}\n: 1\n" * 2, "twice in one place, in lines 1 and 3"),
        (f"? {'x' * 9000}\n: b", "unknown key 'xxx"),
        ('"a\\n\\e[31m": b', "unknown key 'a  [31m'"),
        (f"{yaml.safe_dump(SMALL)}\nresults: [{'x, ' * 9000}]", "'results' is ['x', 'x',"),
    ],
    ids=lambda text: text[:30],
)
def test_configurations_of_strangers(tmp_path, text, message):
    _, sentence = loaded(tmp_path, text.replace("{0}", str(tmp_path)).encode())
    assert message in sentence
    assert not (tmp_path / "executed").exists()


def test_our_own_aliases_are_read():
    for path, section in (("config.yaml", "variants"), ("workflow/papers/gmcn.yaml", "tables")):
        said, read = yaml.safe_load((ROOT / path).read_text())[section], config.load(ROOT / "config.yaml")[section]
        assert said.items() <= read.items()


@fuzz(60)
@given(EDITS)
def test_altered_configurations(tmp_path_factory, edits):
    loaded(tmp_path_factory.getbasetemp(), altered(yaml.safe_dump(SMALL).encode(), edits, power=1))


@fuzz(60)
@example(0.0, None)
@example(0.0, [1])
@example(0.0, "text")
@given(st.floats(0, 1), VALUES)
def test_configurations_with_something_else_somewhere(place, value):
    outcome(config.check, replaced(SMALL, place, value))


@pytest.mark.parametrize("text", [DEEP, "9" * 5000, "{", "\xff", "\ud800"], ids=lambda text: text[:5])
def test_json_that_is_none(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin-1", errors="surrogatepass") if text < "\u0100" else b"\xed\xa0\x80")
    with pytest.raises(InputError, match=r"a\.json is damaged"):
        read_json(path)


@pytest.mark.parametrize("text", [DEEP, "9" * 5000, "no JSON"], ids=lambda text: text[:5])
def test_headers_of_artifacts_that_are_no_json(tmp_path, text):
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "a.safetensors"
    save_file({"a": torch.zeros(2)}, path, {"names": text})
    with pytest.raises(InputError, match=r"a\.safetensors is damaged"):
        read_metadata(path)


@fuzz(200)
@given(EDITS, st.sampled_from([1, 4]))
def test_altered_artifacts(tmp_path_factory, edits, power):
    import torch

    path = tmp_path_factory.getbasetemp() / "a.safetensors"
    save_tensors(path, {"a": torch.zeros(8, 3), "b": torch.ones(8, dtype=torch.int64)}, {"names": ["x"] * 8})
    path.write_bytes(altered(path.read_bytes(), edits, power))
    found, _ = outcome(load_tensors, path)
    assert found is None or sum(tensor.nbytes for tensor in found[0].values()) <= path.stat().st_size


RECORDS = [
    {"start": {"name": "fit", "dataset": "a", "result": None, "tags": {}, "resume": False, "job_key": None, "time": 0}},
    {"metrics": [["a", 1.0, 0, 1]]},
    {"params": {"a": "1"}},
    {"end": "FINISHED"},
]


@fuzz(200)
@given(EDITS)
def test_altered_journals(tmp_path_factory, edits):
    path = tmp_path_factory.getbasetemp() / "1.jsonl"
    path.write_bytes(altered("\n".join(map(json.dumps, RECORDS)).encode(), edits, power=1))
    journal = Journal(path)
    assert all(isinstance(record, dict) for record in journal.records())
    journal.close()


def test_a_journal_that_is_not_understood_does_not_stop_the_others(tmp_path):
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "1-fit.jsonl").write_text('{"start": 5}\n')
    (folder / "2-fit.jsonl").write_text("no JSON\n")
    assert send_left_over(tmp_path, "a job") == 0
    assert [path.name for path in folder.iterdir()] == ["1-fit.damaged"]
