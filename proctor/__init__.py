"""Proctor: a self-hosted exam-proctoring server.

The package itself stays empty so that a plugin can import :mod:`proctor.analysis` without loading the server.
"""

from importlib.metadata import version

__version__ = version("proctor")
