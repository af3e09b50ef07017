# Configuration, constraints on names, and what several rules need.
import atexit
import functools
import json
import math
import os
import re
import shlex
import sys
from importlib import metadata

# Jobs run the Python that runs Snakemake, also when its environment is not activated.
python = os.path.dirname(sys.executable)
os.environ.update(PATH=os.pathsep.join([python, os.environ.get("PATH", "")]))
if workflow.basedir not in sys.path:
    sys.path.append(workflow.basedir)

from snakemake.caching import LOCATION_ENVVAR
from snakemake.exceptions import WorkflowError

from gmcn import config as settings_of
from gmcn.addresses import ADDRESSES, plain
from gmcn.config import tables as tables_of
from gmcn.errors import InputError
from gmcn.folders import walk
from gmcn.kernel_sources import check_built
from gmcn.launching import cpus_per_task, launcher
from gmcn.running import enter_workflow, forget_future
from gmcn.stages import STAGES
from gmcn.stages.paths import PATHS, input_path
from gmcn.status import farewell
from gmcn.tasks import DEFAULT_TASK, TASKS

try:
    # Read once more for the files that they include, and for what Snakemake's own reader passes over. It has read those
    # of the command line first, and hands over as text whatever stands inside braces of --config.
    overlays = workflow.overwrite_configfiles
    own = workflow.configfiles[len(overlays) :]
    if workflow.config_settings.replace_workflow_config:
        own = []
    below = settings_of.together(*own, *overlays)
    if "include" not in workflow.config_settings.config:
        config.pop("include", None)
    config.update(settings_of.check(settings_of.merge(below, config)))
except InputError as error:
    raise WorkflowError(str(error)) from None

RESULTS = config.get("results", "results")
TRACKING = "on" if config.get("tracking", {}).get("enabled", True) else "off"

build_dag = workflow._build_dag


def check_targets():
    """Snakemake would only say that no rule makes such a file."""
    try:
        for target in workflow.dag_settings.targets:
            settings_of.check_target(config, target)
    except InputError as error:
        raise WorkflowError(str(error)) from None


def check_kernels():
    """Results of old kernels would count as those of the sources that are there now."""
    try:
        check_built()
    except InputError as error:
        raise WorkflowError(str(error)) from None


def enter_and_build():
    """Run the checks that need the targets, after the parsing and before Snakemake takes its locks.

    Snakemake (9.23) has no public hook there: `onstart` runs when the locks are taken.
    """
    become_own_job()
    if workflow.is_main_process:
        check_targets()
    executes = workflow.executor_plugin is not None and not workflow.dryrun
    if workflow.is_main_process and executes:
        check_kernels()
    if workflow.is_main_process and executes and workflow.execution_settings.lock:
        if not enter_workflow(Path(".snakemake")):
            print(
                "Another workflow runs in this folder: this one can only make what that one does not; see `gmcn status`.",
                file=sys.stderr,
            )
    build_dag()


workflow._build_dag = enter_and_build

# A folder in which checkouts share downloads, points and fits. The key of a cached file is made of the rule's text, its
# params and the content of its inputs, so the output of such a rule must depend on nothing else.
CACHE = "omit-software" if os.environ.get(LOCATION_ENVVAR) else False
if CACHE:
    cached = Path(os.environ[LOCATION_ENVVAR]).expanduser().absolute()
    cached.mkdir(parents=True, exist_ok=True)
    os.environ[LOCATION_ENVVAR] = str(cached)
    workflow.workflow_settings.cache = workflow.workflow_settings.cache or []


def path(artifact, **fields):
    """The place of an artifact: a pattern with wildcards, or a path if ``fields`` give their values."""
    pattern = PATHS[artifact]
    return f"{RESULTS}/{pattern.format(**fields) if fields else pattern}"


def log_of(stage):
    """The log of a stage's jobs."""
    return path("log", stage=stage, job=STAGES[stage].job)


def benchmark_of(stage):
    """The file with Snakemake's measurements of a stage's jobs."""
    return path("benchmark", stage=stage, job=STAGES[stage].job)


def names(section):
    """A pattern that matches the names of a section of the configuration, and nothing else."""
    return "|".join(re.escape(name) for name in config[section])


def variants_for(*tasks):
    """A pattern that matches the variants that are trained for one of these tasks, whole or on a fold."""
    of = settings_of.task_of
    found = [
        re.escape(name) for name in config["variants"] if of(config, name) in tasks
    ]
    return f"({'|'.join(found)})({settings_of.FOLD})?" if found else "(?!)"


wildcard_constraints:
    dataset=names("datasets"),
    fit=names("fits"),
    variant=variants_for(*TASKS),
    seed=r"\d+",
    figure="|".join(settings_of.ILLUSTRATIONS),
    rival="|".join(settings_of.RIVALS),
    table=names("tables") if config.get("tables") else "(?!)",
    file=r"[^/]+",


def resolved(wildcards):
    """All settings of a variant on a data set."""
    try:
        return settings_of.resolve(config, wildcards.dataset, wildcards.variant)
    except InputError as error:
        raise WorkflowError(str(error)) from None


def written(settings):
    """Settings as JSON, the same in whichever order the configuration's files say them."""
    return json.dumps(settings, sort_keys=True)


# Snakemake shows and keeps the commands of jobs, but not their environment.
os.environ[ADDRESSES] = json.dumps(settings_of.secret_addresses(config))


def settings(stage):
    """A function that gives the settings of a stage as JSON: exactly what makes it run again when it changes."""

    def of(wildcards):
        name = next(
            (
                wildcards[key]
                for key in ("variant", "fit", "file")
                if key in wildcards.keys()
            ),
            None,
        )
        text = written(
            settings_of.stage_settings(config, stage, wildcards.dataset, name)
        )
        return plain(text) if stage == "download" else text

    return of


def options(wildcards, resources):
    """Options that change how a stage runs, never what it computes: taking ``resources`` keeps them untracked."""
    return f"--results {shlex.quote(RESULTS)} --tracking {TRACKING}"


def software(wildcards, resources):
    """Versions on which points and mixtures depend: part of a cached file's key, but an upgrade reruns nothing."""
    packages = ("numpy", "point-cloud-utils", "scikit-learn", "torch")
    return {name: metadata.version(name) for name in packages}


def own_files(wildcards, input):
    """Names and dates of a user's files, for that key: their content does not say of which class they are."""
    if "path" not in (own := config["datasets"][wildcards.dataset]):
        return []
    root = Path(own["path"]).expanduser()
    return [
        [os.path.relpath(file, root), os.stat(file).st_mtime_ns]
        for file in input.downloads
    ]


def processes_of(wildcards):
    """Devices per node, and nodes, that train a variant."""
    return settings_of.processes_of(config, wildcards.dataset, wildcards.variant)


def launch(wildcards, resources, threads):
    """The command that starts the processes of a training."""
    devices, nodes = processes_of(wildcards).values()
    command = (
        f"{launcher(devices, nodes, threads)} train --devices {devices} --nodes {nodes}"
    )
    how = settings_of.how_of(config, wildcards.dataset, wildcards.variant)
    if "checkpoint_minutes" in how:
        command += f" --checkpoint-minutes {how['checkpoint_minutes']}"
    return command


def tasks(resource):
    """The resources besides GPUs for which a training on several nodes asks SLURM; none on one node."""

    def of(wildcards, threads):
        devices, nodes = processes_of(wildcards).values()
        asked = {
            "mpi": "srun",
            # The executor takes "per node" only where that is more than one.
            "tasks_per_node": devices if devices > 1 else None,
            "tasks": nodes if devices == 1 else None,
            "tasks_per_gpu": 0,
            "cpus_per_task": cpus_per_task(threads, devices),
        }
        return asked[resource] if nodes > 1 else None

    return of


def maker(wildcards, resources):
    """How a result is made with the configuration that this is: for the empty rows of tables."""
    overlays = workflow.overwrite_configfiles
    words = ["--configfile", *map(os.path.relpath, overlays)] if overlays else []
    if RESULTS != below.get("results", "results"):
        words += ["--config", f"results={RESULTS}"]
    return shlex.join(["snakemake", "--cores", "all", *words, *["--"] * bool(words)])


def device(wildcards, resources):
    """--device for this job; with ``--resources gpu=0`` everything runs on the CPU."""
    return "auto" if resources.get("gpu") else "cpu"


def growing(amount):
    """A resource of which the next attempts get more, up to three times ``amount``."""
    return lambda wildcards, attempt: amount * min(attempt, 3)


# Jobs for a cluster: only then there is a limit on their number.
CLUSTER = workflow.resource_settings.nodes is not None
# Snakemake does not say which of several GPUs of this machine a job should take: one job at a time.
if not CLUSTER and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", 1)
# The jobs of a group take turns on one.
workflow.register_resource("turn", 1)


def gpus():
    """1 where jobs find a GPU, else 0: on a cluster they do, though the machine that asks may have none."""
    return int(CLUSTER or any(Path(os.sep, "dev").glob("nvidia[0-9]*")))
