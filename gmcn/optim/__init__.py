"""Optimisers of measures."""

from gmcn.optim.wasserstein import WassersteinSGD, flow_groups

__all__ = ["WassersteinSGD", "flow_groups"]
