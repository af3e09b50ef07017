"""The variant that the tests of results train."""

from tests.results.conftest import variant  # noqa: F401
