"""The commands and names in README.md and docs/ are those of the project: as they are typed, they are understood."""

from __future__ import annotations

import contextlib
import pkgutil
import re
import subprocess
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from gmcn import cli, config
from gmcn.config.sections import RIVALS
from gmcn.errors import InputError
from gmcn.models import NETWORKS
from gmcn.models.loading import pretrained_names
from tests.conftest import ROOT
from tests.docs.reading import PLACEHOLDERS, Command, all_code, commands, settings

COMMANDS = commands()
FOLDERS = ("benchmarks", "csrc", "docs", "envs", "examples", "gmcn", "pretrained", "profiles", "tests", "workflow")
MAKEFILE = (ROOT / "Makefile").read_text()
PYTHON = "".join(path.read_text() for path in ROOT.glob("gmcn/**/*.py"))


def of(*programs: str) -> list[Command]:
    found = [command for command in COMMANDS if command.words[0] in programs]
    assert found, f"no command of {programs} in the documentation: is it still read as it is written?"
    return found


def each(*programs: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("command", of(*programs), ids=str)


@pytest.mark.parametrize("block", [each for each in all_code() if each.language == "sh"], ids=str)
def test_a_shell_can_read(block):
    done = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert not re.search(r"<[\w ]+>", block.text), "a block is there to be copied: name an example instead"


@each("gmcn")
def test_a_command_of_gmcn(command):
    if "--help" in command.words:
        with pytest.raises(SystemExit, match="0"):
            cli.parser().parse_args(command.words[1:])
        return
    options = vars(cli.parser().parse_args(command.words[1:]))
    known = settings()
    if options.get("dataset"):
        config.dataset(known, options["dataset"])
    if options.get("variant"):
        config.resolve(known, options["dataset"], options["variant"])
    if options.get("fit"):
        config.fit(known, options["fit"])
    if options["command"] in ("predict", "generate") and "/" not in options["model"]:
        assert options["model"] in pretrained_names()
    for word in command.words:
        config.check_target(known, word)


@each("make")
def test_a_command_of_make(command):
    targets = [word for word in command.words[1:] if "=" not in word]
    done = subprocess.run(["make", "--dry-run", *targets], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for word in command.words[1:]:
        name, given, _ = word.partition("=")
        assert not given or re.search(rf"^{name} \?=", MAKEFILE, re.MULTILINE), f"the Makefile has no {name}"


@each("python")
def test_a_script(command):
    if command.words[1] == "-m":
        assert find_spec(command.words[2]), f"there is no module {command.words[2]}"
        return
    script = next(word for word in command.words[1:] if not word.startswith("-"))
    if command.words[1] == "-m":
        script = f"{script.replace('.', '/')}.py"
    if script == "setup.py":  # whose options are those of setuptools
        return
    sources = (ROOT / script).read_text() + (ROOT / "benchmarks/common.py").read_text()
    for word in command.words:
        assert not word.startswith("--") or f'"{word}"' in sources, f"{script} has no option {word}"


@each("pytest")
def test_a_path_of_tests(command):
    for word in command.words[1:]:
        assert word.startswith("-") or (ROOT / word).exists(), f"{word} does not exist"


@each("pip")
def test_an_installation_of_ours(command):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in command.words:
        if asked := re.fullmatch(r"(?:\.|gmcn)\[(.+)\]", word):
            assert set(asked[1].split(",")) <= set(extras)


def test_variables_are_read_somewhere():
    sources = [*ROOT.glob("gmcn/**/*.py"), *ROOT.glob("csrc/**/*.[ch]*"), *ROOT.glob("tests/**/*.py")]
    read = set(re.findall(r"\bGMCN_[A-Z_]+", "".join(map(Path.read_text, sources)) + MAKEFILE))
    named = {name: str(each) for each in all_code() for name in re.findall(r"\bGMCN_[A-Z_]+", each.text)}
    assert {name: where for name, where in named.items() if name not in read} == {}


def names_of_project(text: str, known: dict) -> str | None:
    """What is wrong with a name between backticks, if it looks like one of the project's."""
    dataset, _, rest = text.partition("_")
    if re.fullmatch(r"[a-z][a-z0-9-]*_[a-z][a-z0-9-]*", text) and dataset in known["datasets"]:
        return None if rest in known["variants"] or rest in known["fits"] or rest == "fits" else "no variant, no fit"
    family = {name.partition("-")[0] for name in known["variants"] if "-" in name}
    if re.fullmatch(r"[a-z0-9]+-[a-z0-9-]+", text) and text.partition("-")[0] in family:
        return None if text in {*known["variants"], *RIVALS, *NETWORKS} else "no variant, no rival, no network"
    if text.startswith("results/"):
        config.check_target(known, text)
        return None
    made = f"/{text}\n" in (ROOT / ".gitignore").read_text()
    if made or text in {f"gmcn/{name}" for name in known["datasets"]}:  # the latter are MLflow's experiments
        return None
    if re.fullmatch(rf"({'|'.join(FOLDERS)})/[\w./*-]*", text):
        return None if any(ROOT.glob(text.rstrip("/"))) else "no such file or folder"
    if re.fullmatch(r"\w+\.(py|sh|smk|cu|h)", text):
        return None if any(any(ROOT.glob(f"{folder}/**/{text}")) for folder in FOLDERS) else "no such file"
    if name := re.match(r"(gmcn(?:\.\w+)+)(?:\(|$)", text):
        return None if exists(name[1]) or f'"{text}"' in PYTHON else "no such name"
    return None


def exists(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


@pytest.mark.parametrize(
    "text",
    ["modelnet10_tiny", "ablation-nothing", "benchmarks/bm_nothing.py", "bm_nothing.py", "gmcn.ops.nothing"],
)
def test_names_that_do_not_exist_are_seen(text):
    assert names_of_project(text, settings())


def test_names_exist():
    known, wrong = settings(), []
    for each in all_code():
        text = each.text
        for placeholder, example in PLACEHOLDERS.items():
            text = text.replace(placeholder, example)
        if each.language is None and (fault := names_of_project(text, known)):
            wrong.append(f"{each}: {fault}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("block", [each for each in all_code() if each.language == "python"], ids=str)
def test_python_runs_up_to_the_files_that_it_needs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program = compile(block.text, str(block), "exec")
    if '..."' in block.text:  # a name that only the reader has
        return
    needed = re.findall(r'"([\w./-]+\.(?:png|safetensors))"', block.text)  # the reader's own, or results
    with pytest.raises(InputError, match=re.escape(needed[0])) if needed else contextlib.nullcontext():
        exec(program, {})
