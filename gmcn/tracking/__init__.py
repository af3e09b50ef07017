"""Logging of stages to MLflow, and nothing at all when it is off or absent.

One MLflow run per stage and job, nested under a parent run that carries the result's name (or the data set's, for
the stages before a variant is chosen). Tracking never stops a stage: what cannot be logged is said once on stderr, and
kept until it can be.
"""

from gmcn.tracking.run import NO_RUN, Run, create_store, start

__all__ = ["NO_RUN", "Run", "create_store", "start"]
