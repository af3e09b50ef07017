"""The pose of one mixture on another, as a distribution: where they overlap most, with weights."""

from gmcn.registration.levels import Levels, levels_of
from gmcn.registration.modes import Registration
from gmcn.registration.search import LOW, search

__all__ = ["LOW", "Levels", "Registration", "levels_of", "search"]
