"""What an exam policy says about those who look at sessions afterwards."""

import hashlib
import re
from enum import StrEnum

import msgspec

REASONS_MAX = 9
"""One for each digit of a keyboard."""
REASON_CHARACTERS = 200
_NAME = re.compile("[a-z0-9_]{1,64}", re.ASCII)


class SecondReviewer(StrEnum):
    """When somebody else has to take a look of their own before a decision stands."""

    NEVER = "never"
    """Only where the first reviewer asks for it."""
    REFERRED = "referred"
    """Before a session is referred."""
    ALWAYS = "always"


_CONFIRM = {
    "as_reported": "It happened as reported",
    "not_allowed": "It happened and was not allowed in this exam",
}
_DISMISS = {
    "not_so": "It did not happen: the detector was wrong",
    "technical": "Camera, light or connection",
    "allowed": "Allowed in this exam, or granted to this candidate",
    "harmless": "It happened and means nothing",
    "explained": "The candidate has explained it",
}


class ReviewPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How sessions are reviewed; no report depends on it."""

    second_reviewer: SecondReviewer = SecondReviewer.REFERRED
    confirm: dict[str, str] = msgspec.field(default_factory=lambda: dict(_CONFIRM))
    """Reasons to confirm a finding: by name, in the order in which they are offered."""
    dismiss: dict[str, str] = msgspec.field(default_factory=lambda: dict(_DISMISS))
    """Reasons to dismiss one, likewise; at least one, for nothing is dismissed without."""

    @property
    def digest(self) -> str:
        """SHA-256 of all of it."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()

    def __post_init__(self) -> None:
        if not self.dismiss:
            raise ValueError("dismiss: must have a reason at least")
        for table, reasons in (("confirm", self.confirm), ("dismiss", self.dismiss)):
            if len(reasons) > REASONS_MAX:
                raise ValueError(f"{table}: at most {REASONS_MAX} reasons, one for each digit")
            for name, words in reasons.items():
                if not _NAME.fullmatch(name):
                    raise ValueError(
                        f"{table}.{name}: a name is made of small letters, digits and '_', at most 64"
                    )
                if not words.strip() or len(words) > REASON_CHARACTERS or not words.isprintable():
                    raise ValueError(
                        f"{table}.{name}: must be words on one line, at most {REASON_CHARACTERS} characters"
                    )
