"""One class out of several for every object."""
