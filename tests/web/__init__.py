"""Tests of what stands on the port."""
