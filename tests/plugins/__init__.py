"""One test module per built-in rule."""
