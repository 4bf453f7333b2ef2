"""Candidate tokens: what is one, and everything that is not."""

import time

import jwt
import pytest

from proctor.access.roles import Role
from proctor.access.tokens import AUDIENCE, ISSUER, TOKEN_MAX_CHARACTERS, issue, make_signing_key, verify
from proctor.errors import Forbidden, Unauthenticated
from proctor.model import ExamSession

KEY, OTHER = make_signing_key(1), make_signing_key(2)
SESSION = ExamSession(session_id="exam", candidate_id="C-1", started_ms=0)
SECRET = bytes.fromhex(KEY.secret)


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


def signed(
    secret: bytes | str = SECRET, algorithm: str = "HS256", kid: str | None = KEY.kid, **changes: object
) -> str:
    return jwt.encode(claims(**changes), secret, algorithm, {} if kid is None else {"kid": kid})


def forged() -> str:
    """Another session's claims between the head and the signature of a token that is valid."""
    (head, _, signature), (_, body, _) = signed().split("."), signed(sid="another").split(".")
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


ATTACKS = {
    "unsigned": lambda: signed("", "none"),
    "another algorithm": lambda: signed(algorithm="HS512"),
    "signed with another secret": lambda: signed(b"x" * 32),
    "another key's name": lambda: signed(kid=OTHER.kid),
    "an unknown key": lambda: signed(kid="nobody"),
    "no key named": lambda: signed(kid=None),
    "expired": lambda: signed(exp=now() - 1),
    "not yet issued": lambda: signed(iat=now() + 600),
    "not yet valid": lambda: signed(nbf=now() + 600),
    "another audience": lambda: signed(aud="livekit"),
    "no audience": lambda: signed(aud=None),
    "another issuer": lambda: signed(iss="somebody"),
    "no issuer": lambda: signed(iss=None),
    "no session": lambda: signed(sid=None),
    "no beginning": lambda: signed(began=None),
    "no subject": lambda: signed(sub=None),
    "a subject that is no text": lambda: jwt.encode(claims() | {"sub": 7}, SECRET, "HS256", {"kid": KEY.kid}),
    "no expiry": lambda: signed(exp=None),
    "expiry that is no number": lambda: signed(exp="never"),
    "no issue time": lambda: signed(iat=None),
    "changed": lambda: signed()[:-2] + "AA",
    "claims changed": forged,
    "endless": lambda: signed(note="x" * TOKEN_MAX_CHARACTERS),
    "empty": lambda: "..",
    "no token": lambda: "a.b.c",
    "not ASCII": lambda: "ü.ü.ü",
}


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
@pytest.mark.parametrize("attack", ATTACKS)
def test_what_else_there_may_be_opens_nothing(attack):
    with pytest.raises(Unauthenticated) as refused:
        verify(ATTACKS[attack](), [KEY, OTHER])
    assert KEY.secret not in refused.value.detail
