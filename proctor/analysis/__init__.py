"""Judging a session: what a plugin author imports, and the engine behind it."""
