"""Optimisers of measures, and of kernels."""

from gmcn.optim.muon import MuonAdam
from gmcn.optim.wasserstein import WassersteinSGD, flow_groups

__all__ = ["MuonAdam", "WassersteinSGD", "flow_groups"]
