"""The classes that describe a command and a stage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gmcn.stages.options import COMMON, OF_STAGES, Option


@dataclass(frozen=True)
class Command:
    """A command: ``options`` are its own, besides those of every command."""

    name: str
    summary: str
    options: tuple[Option, ...] = ()

    @property
    def identifier(self) -> str:
        """Its name in Python and in Snakemake: of its function in :mod:`gmcn.commands`, and of its rule."""
        return self.name.replace("-", "_")

    @property
    def all_options(self) -> tuple[Option, ...]:
        return (*self.options, *COMMON)


# The files that networks of several kinds share, besides `network.py`.
SHARED = dict.fromkeys(("pointnet", "pointnet2", "mlp"), ("gmcn/models/point_sets.py",))


@dataclass(frozen=True)
class Stage(Command):
    """A stage of the workflow: a command, and a rule of the same name.

    ``makes`` is the name of the artifact that it writes, or of the most important one, and ``path`` where this lies
    below the results: tables and figures lack a suffix, since each is written in several formats. ``job`` is what its
    log is called. ``calls``, ``module:function``, is what computes it where the command has nothing else to do
    (:func:`gmcn.commands.stages.calling`); other stages have a command of their own. ``settings`` are the
    keys of a variant that it is given. A stage with ``networks`` concerns only variants with a network of these kinds.
    ``variations`` are rules that call it too, for other outputs.

    ``sources`` are patterns of the files whose edit can change what the stage makes, without those of ``without``;
    ``{task}`` in them is the variant's task, ``{network}`` the kind of its network. What the stages ``after`` which it
    comes are made of is not repeated, since their outputs are its inputs. ``lighter`` says how it needs less memory.
    """

    makes: str = ""
    path: str = ""
    calls: str | None = None
    job: str = "{dataset}_{variant}"
    settings: tuple[str, ...] = ()
    networks: tuple[str, ...] | None = None
    variations: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    lighter: str | None = None

    @property
    def all_options(self) -> tuple[Option, ...]:
        return (*self.options, *OF_STAGES, *COMMON)

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules that call it."""
        return (self.identifier, *self.variations)

    def files(self, root: Path, task: str = "*", network: str = "*") -> list[Path]:
        """The files of ``sources`` below the checkout ``root``, in order; by default of all tasks and networks."""
        excluded = {root / name for name in self.without}
        shared = SHARED.get(network, ()) if network != "*" else [path for paths in SHARED.values() for path in paths]
        patterns = [*self.sources, *(shared if any("{network}" in pattern for pattern in self.sources) else ())]
        found = {file for pattern in patterns for file in root.glob(pattern.format(task=task, network=network))}
        return sorted(found - excluded)
