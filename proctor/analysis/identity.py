"""What tells the findings of a session apart, in one report and from one version of it to the next."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from proctor.analysis.api import Finding

KEY_PATTERN = "[0-9a-f]{16}(-[1-9][0-9]{0,5})?"
_KEY_DIGITS = 16


def finding_keys(findings: Sequence[Finding]) -> list[str]:
    """Return a key for each finding, in their order.

    Findings that a comparison of two reports takes for the same have the same key in both; equal ones in one
    report are numbered.
    """
    seen: Counter[str] = Counter()
    keys = []
    for finding in findings:
        encoded = msgspec.json.encode(finding, order="deterministic")
        digest = hashlib.sha256(encoded).hexdigest()[:_KEY_DIGITS]
        seen[digest] += 1
        keys.append(digest if seen[digest] == 1 else f"{digest}-{seen[digest]}")
    return keys


def digest_of(keys: Iterable[str]) -> str:
    """Return what tells two reports apart by what they found, and by nothing else."""
    return hashlib.sha256(" ".join(sorted(keys)).encode()).hexdigest()
