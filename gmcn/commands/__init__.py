"""The function of each command, under its name."""

from gmcn.commands.context import Context
from gmcn.commands.names import names
from gmcn.commands.others import export, info, predict, show, status, store
from gmcn.commands.report import draw_figure, draw_fits, least_squares, table
from gmcn.commands.stages import download, evaluate, fit, footprint, probe, sample, summarise, train

__all__ = [
    "Context",
    "download",
    "draw_figure",
    "draw_fits",
    "evaluate",
    "export",
    "fit",
    "footprint",
    "info",
    "least_squares",
    "names",
    "predict",
    "probe",
    "sample",
    "show",
    "status",
    "store",
    "summarise",
    "table",
    "train",
]
