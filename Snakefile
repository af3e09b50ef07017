# From a data set's name to a result: snakemake --cores all results/digits_treehem2.json
from snakemake.utils import min_version

min_version("9.20")


configfile: str(Path(workflow.basedir) / "config.yaml")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/slurm.smk"


# A limit on GPUs is one machine's: on a cluster it holds within each job, not for all jobs together.
resource_scopes:
    gpu="local",
    turn="local",


localrules:
    all,
    queue,


rule all:
    default_target: True
    input:
        [f"{RESULTS}/{target}.json" for target in config.get("targets", [])],


# In any order: for `gmcn status queue` and for a cluster. `make queue` keeps to the order.
rule queue:
    input:
        [f"{RESULTS}/{target}.json" for target in config.get("queue", [])],


include: "workflow/rules/data.smk"
include: "workflow/rules/fit.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/results.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"


onstart:
    check_arrays()
    forget_future(Path(RESULTS))
    # Once, before the jobs: processes that create the same store at the same time crash each other.
    shell("python -m gmcn store --results {RESULTS:q} --tracking {TRACKING}")


onerror:
    # Its last words, after all that Snakemake says.
    atexit.register(print, farewell(log, sys.argv[1:]), file=sys.stderr)
