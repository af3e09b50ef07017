"""What `mlflow.pyfunc` loads our models with: a model's graph calls operations of gmcn, so that these come first."""

from mlflow.pytorch import _load_pyfunc  # noqa: F401

import gmcn.ops  # noqa: F401
