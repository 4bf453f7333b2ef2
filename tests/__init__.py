"""Proctor's tests."""
