"""Candidate tokens: what is one, and everything that is not."""

import time
from collections.abc import Callable

import jwt
import pytest

from proctor.access.roles import Role
from proctor.access.tokens import (
    AUDIENCE,
    ISSUER,
    TOKEN_MAX_CHARACTERS,
    SigningKey,
    issue,
    make_signing_key,
    verify,
)
from proctor.errors import Forbidden, Unauthenticated
from proctor.model import ExamSession

KEY, OTHER = make_signing_key(1), make_signing_key(2)
SESSION = ExamSession(session_id="exam", candidate_id="C-1", started_ms=0)


def now() -> int:
    return int(time.time())


def claims(**changes: object) -> dict[str, object]:
    whole = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "C-1",
        "sid": "exam",
        "began": 0,
        "iat": now(),
        "exp": now() + 60,
    }
    return {name: value for name, value in (whole | changes).items() if value is not None}


def signed(key: SigningKey = KEY, /, **changes: object) -> str:
    return encoded(bytes.fromhex(key.secret), "HS256", key.kid, **changes)


def encoded(secret: bytes | str, algorithm: str, kid: str | None, **changes: object) -> str:
    return jwt.encode(claims(**changes), secret, algorithm, {} if kid is None else {"kid": kid})


def forged(key: SigningKey) -> str:
    """Another session's claims between the head and the signature of a token that is valid."""
    (head, _, signature), (_, body, _) = signed(key).split("."), signed(key, sid="another").split(".")
    return f"{head}.{body}.{signature}"


def test_a_token_opens_its_session_and_no_other():
    token = issue(SESSION, KEY, now_ms=now() * 1000, seconds=60)
    holder = verify(token, [OTHER, KEY])
    assert (holder.name, holder.roles, holder.session_id) == ("C-1", {Role.CANDIDATE}, "exam")
    holder.check_session("exam")
    for other in ("exam-2", "", "EXAM"):
        with pytest.raises(Forbidden, match="another session"):
            holder.check_session(other)


def test_the_claims_that_it_needs_are_those_that_are_issued():
    assert verify(signed(), [KEY]) == verify(issue(SESSION, KEY, now_ms=now() * 1000, seconds=60), [KEY])


ATTACKS: dict[str, Callable[[SigningKey], str]] = {
    "unsigned": lambda key: encoded("", "none", key.kid),
    "another algorithm": lambda key: encoded(bytes.fromhex(key.secret), "HS512", key.kid),
    "signed with another secret": lambda key: encoded(b"x" * 32, "HS256", key.kid),
    "signed with the name of its key": lambda key: encoded(key.kid.encode(), "HS256", key.kid),
    "another key's name": lambda key: encoded(bytes.fromhex(key.secret), "HS256", OTHER.kid),
    "an unknown key": lambda key: encoded(bytes.fromhex(key.secret), "HS256", "nobody"),
    "no key named": lambda key: encoded(bytes.fromhex(key.secret), "HS256", None),
    "expired": lambda key: signed(key, exp=now() - 1),
    "not yet issued": lambda key: signed(key, iat=now() + 600),
    "not yet valid": lambda key: signed(key, nbf=now() + 600),
    "another audience": lambda key: signed(key, aud="livekit"),
    "no audience": lambda key: signed(key, aud=None),
    "another issuer": lambda key: signed(key, iss="somebody"),
    "no issuer": lambda key: signed(key, iss=None),
    "no session": lambda key: signed(key, sid=None),
    "no beginning": lambda key: signed(key, began=None),
    "no subject": lambda key: signed(key, sub=None),
    "a subject that is no text": lambda key: jwt.encode(
        claims() | {"sub": 7}, bytes.fromhex(key.secret), "HS256", {"kid": key.kid}
    ),
    "no expiry": lambda key: signed(key, exp=None),
    "expiry that is no number": lambda key: signed(key, exp="never"),
    "no issue time": lambda key: signed(key, iat=None),
    "changed": lambda key: signed(key)[:-2] + "AA",
    "claims changed": forged,
    "endless": lambda key: signed(key, note="x" * TOKEN_MAX_CHARACTERS),
    "empty": lambda key: "..",
    "no token": lambda key: "a.b.c",
    "not ASCII": lambda key: "ü.ü.ü",
}


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
@pytest.mark.parametrize("attack", ATTACKS)
def test_what_else_there_may_be_opens_nothing(attack):
    with pytest.raises(Unauthenticated) as refused:
        verify(ATTACKS[attack](KEY), [KEY, OTHER])
    assert KEY.secret not in refused.value.detail
