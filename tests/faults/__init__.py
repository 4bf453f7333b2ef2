"""Proofs under fire: a server whose peers, stores and own process fail, and a judge of what it kept."""

import os

SCALE = int(os.environ.get("FAULT_SCALE", "1"))
"""How long and how often the proofs inflict their faults: 1 in the suite, 30 or more by hand."""
