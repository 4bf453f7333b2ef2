"""Fixtures that several test modules share."""

pytest_plugins = ["tests.fixtures.redis", "tests.fixtures.postgres"]
