"""The pose of one mixture on another, as a distribution: every pose that may be the right one, with its weight."""

from gmcn.registration.levels import FEWEST, Levels, levels_of
from gmcn.registration.modes import Registration
from gmcn.registration.search import LOW, search

__all__ = ["FEWEST", "LOW", "Levels", "Registration", "levels_of", "search"]
