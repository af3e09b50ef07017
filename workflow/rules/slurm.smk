# What the executor for SLURM lacks for a week without supervision (seen in its version 2.8.0).
import importlib.util

from gmcn.status import was_asked_to_leave

if importlib.util.find_spec("snakemake_executor_plugin_slurm"):
    import snakemake_executor_plugin_slurm as slurm

    check_active_jobs = slurm.Executor.check_active_jobs

    async def outlast_the_controller(executor, jobs):
        """The jobs that have not ended; all of them as long as SLURM does not answer, when the executor drops them."""
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
        """Arrays are of jobs that ask for the same: an array asks for what its first job does. None has several nodes: there
        each of its tasks would start the first job."""
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
        """An attempt that saved and left because it was asked to, at a preemption or a time limit, does not count: a long
        training has many. A cancelled one counts, lest it comes back for ever."""
        if "CANCELLED" not in (msg or "") and any(
            map(was_asked_to_leave, info.job.log)
        ):
            info.job.attempt -= 1  # Snakemake adds it again
        report_job_error(executor, info, msg, **other)

    slurm.Executor.report_job_error = report_unless_asked


def become_own_job():
    """Every task of an array starts as the array's first job: it would wait for the files of that one, and delete them
    when it fails or is stopped itself. It becomes its own job before it is any."""
    calls = getattr(workflow.executor_settings, "array_execs", None)
    if calls and (task := os.environ.get("SLURM_ARRAY_TASK_ID")):
        import snakemake_executor_plugin_slurm_jobstep as jobstep

        if not jobstep._is_first_array_task(int(task)):
            call = jobstep._decompress_array_task_call(calls, int(task))
            os.execvp("sh", ["sh", "-c", call])


def check_arrays():
    """Refuse a limit that cuts an array in two: the executor would wait for ever for jobs that it never submits."""
    arrays = getattr(workflow.executor_settings, "array_jobs", None)
    if arrays and workflow.resource_settings.nodes < sys.maxsize:
        raise WorkflowError(
            "--jobs does not go together with job arrays: leave it out, or add --slurm-array-jobs ''"
        )
