# What the executor for SLURM lacks for a week without supervision (seen in its version 2.8.0). It has no hooks, so that
# methods are wrapped. Numbers are those of issues of snakemake-executor-plugin-slurm.
import importlib.util

from gmcn.status import was_asked_to_leave

if importlib.util.find_spec("snakemake_executor_plugin_slurm"):
    import snakemake_executor_plugin_slurm as slurm

    check_active_jobs = slurm.Executor.check_active_jobs

    async def outlast_the_controller(executor, jobs):
        """The jobs that have not ended: all of them while SLURM does not answer. The executor drops them (207, 331)."""
        failures = executor._status_query_failures
        active = [job async for job in check_active_jobs(executor, jobs)]
        attempts = executor.workflow.executor_settings.status_attempts
        if executor._status_query_failures - failures >= attempts:
            executor.logger.warning(
                "SLURM does not answer; jobs that run go on, and it will be asked again"
            )
            active = jobs
        for job in active:
            yield job

    slurm.Executor.check_active_jobs = outlast_the_controller

    run_jobs = slurm.Executor.run_jobs

    def run_alike(executor, jobs):
        """Put only jobs with equal resources into one array, which asks for those of its first job (174).

        A job on several nodes is in no array: each of its tasks would start the array's first job.
        """
        kinds = {}
        for job in jobs:
            alone = job.is_group() or "mpi" in job.resources.keys()
            kind = job if alone else (job.rule.name, str(sorted(job.resources.items())))
            kinds.setdefault(kind, []).append(job)
        for alike in kinds.values():
            run_jobs(executor, alike)

    slurm.Executor.run_jobs = run_alike

    report_job_error = slurm.Executor.report_job_error

    def report_unless_asked(executor, info, msg=None, **other):
        """Do not count an attempt that saved its state and left when it was asked to.

        A long training has many of these. A cancelled attempt counts, or the job would restart for ever.
        """
        left = [log for log in info.job.log if was_asked_to_leave(log)]
        if "CANCELLED" not in (msg or "") and left:
            info.job.attempt -= 1  # Snakemake adds it again
        for (
            log
        ) in left:  # an attempt that fails before it writes to its log is no leave
            with open(log, "a") as file:
                file.write("the next attempt goes on from there\n")
        report_job_error(executor, info, msg, **other)

    slurm.Executor.report_job_error = report_unless_asked


def become_own_job():
    """Each array task replaces itself by its own job before Snakemake starts any work.

    Every task starts as the array's first job: it would wait for that job's files (447), and delete them when it fails.
    """
    calls = getattr(workflow.executor_settings, "array_execs", None)
    if calls and (task := os.environ.get("SLURM_ARRAY_TASK_ID")):
        import snakemake_executor_plugin_slurm_jobstep as jobstep

        if not jobstep._is_first_array_task(int(task)):
            call = jobstep._decompress_array_task_call(calls, int(task))
            os.execvp("sh", ["sh", "-c", call])


def check_arrays():
    """Refuse a limit that cuts an array in two: the executor waits for ever for jobs that it never submits (473)."""
    arrays = getattr(workflow.executor_settings, "array_jobs", None)
    if arrays and workflow.resource_settings.nodes < sys.maxsize:
        raise WorkflowError(
            "--jobs does not go together with job arrays: leave it out, or add --slurm-array-jobs ''"
        )
