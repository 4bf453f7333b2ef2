"""API keys: made, kept and recognised."""

import time

import pytest
import trio

from proctor.access import gate as gate_module
from proctor.access.gate import Gate
from proctor.access.keys import KeyText, make_key
from proctor.access.roles import ANYONE, Role
from proctor.access.tokens import make_signing_key
from proctor.errors import InvalidRequest, Unauthenticated, Unavailable
from proctor.model import ExamSession
from proctor.storage.credentials import Credentials
from proctor.storage.pool import open_pool
from proctor.storage.schema import upgrade_schema
from tests.fakes import Troubled
from tests.house import house_settings

NOW = 1_767_603_600_000
ROLES = frozenset({Role.PROCTOR, Role.REVIEWER})


class Clock:
    now_ms = NOW

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
async def credentials(database_url, tmp_path):
    settings = house_settings(tmp_path, database_url=database_url)
    await upgrade_schema(settings)
    async with open_pool(settings) as pool:
        yield Credentials(pool)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def gate(credentials, clock, tmp_path):
    return Gate(credentials, house_settings(tmp_path), clock)


async def made(credentials, name: str = "exam desk", **more):
    text, key = make_key(name, ROLES, now_ms=NOW, **more)
    await credentials.add_key(key)
    return str(text), key


async def test_a_key_is_kept_without_its_secret(credentials):
    text, key = await made(credentials)
    [kept] = await credentials.keys()
    assert kept == key
    secret = text.rpartition(f"{key.key_id}_")[2]
    assert len(secret) == 43
    assert secret not in repr(kept)
    assert KeyText.parse(text).opens(kept)


@pytest.mark.parametrize("change", ["", "x", "proctor_", "x" * 100_000, "proctor_12_34", "\u0660" * 50, None])
async def test_what_is_no_key_opens_nothing(credentials, gate, change):
    text, key = await made(credentials)
    await gate.load()
    wrong = text[:-1] + ("a" if text[-1] != "a" else "b") if change is None else change
    with pytest.raises(Unauthenticated, match="API key"):
        await gate.by_key(wrong)
    with pytest.raises(Unauthenticated, match="no such API key"):
        await gate.by_key(f"proctor_{'0' * 16}_{text[-43:]}")
    assert (await gate.by_key(text)).roles == key.roles


async def test_authentication_is_on_once_there_is_a_key_and_stays_on(credentials, gate, tmp_path):
    await gate.load()
    assert not gate.on
    assert await gate.identify(None) == ANYONE
    text, key = await made(credentials)
    await gate.load()
    assert gate.on
    with pytest.raises(Unauthenticated, match="proctor keys create"):
        await gate.identify(None)
    assert (await gate.identify(text)).name == "exam desk"
    await credentials.revoke_key(key.key_id, NOW)
    await gate.load()
    assert gate.on
    with pytest.raises(Unauthenticated, match="was revoked"):
        await gate.identify(text)


async def test_it_can_be_required_without_a_key(credentials, tmp_path):
    gate = Gate(credentials, house_settings(tmp_path, authentication="required"), Clock())
    await gate.load()
    assert gate.on
    with pytest.raises(Unauthenticated):
        await gate.identify(None)


async def test_a_key_expires(credentials, gate, clock):
    text, _ = await made(credentials, expires_ms=NOW + 1000)
    await gate.load()
    await gate.by_key(text)
    clock.now_ms += 1000
    with pytest.raises(Unauthenticated, match="has expired"):
        await gate.by_key(text)


async def test_a_key_that_was_made_just_now_opens_at_once(credentials, gate):
    text, _ = await made(credentials)
    assert (await gate.by_key(text)).name == "exam desk"


async def test_made_up_keys_have_the_database_asked_once_a_second(credentials, tmp_path, monkeypatch):
    await made(credentials)
    gate = Gate(credentials, house_settings(tmp_path), Clock())
    await gate.load()
    asked = []
    real = credentials.keys

    async def keys():
        asked.append(1)
        return await real()

    monkeypatch.setattr(credentials, "keys", keys)
    for number in range(50):
        with pytest.raises(Unauthenticated):
            await gate.by_key(f"proctor_{number:016x}_{'A' * 43}")
    assert len(asked) <= 2


async def use_for_ever(gate: Gate, text: str) -> None:
    while True:
        await gate.by_key(text)
        await trio.sleep(0.01)


async def test_use_is_noted_and_revocation_heeded(credentials, gate, clock, nursery, monkeypatch):
    monkeypatch.setattr(gate_module, "REFRESH_SECONDS", 0.02)
    text, key = await made(credentials)
    await gate.load()
    nursery.start_soon(gate.refresh)
    await gate.by_key(text)
    clock.now_ms += 500
    await gate.by_key(text)
    await credentials.revoke_key(key.key_id, NOW)
    await gate.by_key(text)
    with trio.fail_after(10), pytest.raises(Unauthenticated, match="was revoked"):
        await use_for_ever(gate, text)
    with trio.fail_after(10):
        while (kept := (await credentials.keys())[0]).last_used_ms is None:  # noqa: ASYNC110
            await trio.sleep(0.01)
    assert kept.last_used_ms == NOW + 500
    assert kept.revoked_ms == NOW


async def test_revoking_again_changes_nothing(credentials):
    _, key = await made(credentials)
    assert (await credentials.revoke_key(key.key_id, 5)).revoked_ms == 5
    assert (await credentials.revoke_key(key.key_id, 6)).revoked_ms == 5
    with pytest.raises(InvalidRequest, match="no key"):
        await credentials.revoke_key("0" * 16, 6)


async def test_known_keys_open_while_the_database_is_down(credentials, tmp_path, nursery, monkeypatch):
    text, _ = await made(credentials)
    gate = Gate(credentials, house_settings(tmp_path), Clock())
    await gate.load()
    gate._credentials = Troubled(credentials, "keys", 10, Unavailable("down"))
    monkeypatch.setattr(gate_module, "REFRESH_SECONDS", 0.02)
    monkeypatch.setattr(gate_module, "_LOOK_AGAIN_SECONDS", 0.0)
    nursery.start_soon(gate.refresh)
    with trio.fail_after(10):
        while gate._credentials.times > 7:  # noqa: ASYNC110
            await trio.sleep(0.01)
    assert (await gate.by_key(text)).name == "exam desk"
    with pytest.raises(Unavailable):
        await gate.by_key(str(make_key("another", ROLES, now_ms=NOW)[0]))


async def test_a_name_that_no_database_can_hold_is_refused(credentials):
    with pytest.raises(InvalidRequest, match="NUL"):
        await made(credentials, "a\0b")


async def test_signing_keys_stay_until_no_token_of_theirs_can_be_valid(credentials, gate, clock):
    """However old the key is: it has signed until the next one came."""
    clock.now_ms = time.time_ns() // 1_000_000  # by which tokens expire
    await gate.load()
    session = ExamSession(session_id="exam", candidate_id="c", started_ms=NOW)
    old = gate.token_for(session)
    clock.now_ms += 1
    await credentials.add_signing_key(make_signing_key(clock.now_ms))
    await credentials.remove_signing_keys(clock.now_ms)
    await gate.load()
    assert len(await credentials.signing_keys()) == 2
    assert (await gate.by_token(old)).session_id == "exam"
    assert gate.token_for(session).split(".")[0] != old.split(".")[0]
    await credentials.remove_signing_keys(clock.now_ms + 1)
    await gate.load()
    with pytest.raises(Unauthenticated, match="none of this server"):
        await gate.by_token(old)
    await gate.by_token(gate.token_for(session))


async def test_authentication_stays_on_when_the_keys_vanish(credentials, gate, monkeypatch):
    """As when a database of before them is restored under a server that listens to everybody."""
    await made(credentials)
    await gate.load()

    async def none() -> list[object]:
        return []

    monkeypatch.setattr(credentials, "keys", none)
    await gate.load()
    assert gate.on
    with pytest.raises(Unauthenticated):
        await gate.identify(None)


async def test_many_unknown_keys_at_once_share_a_look_at_the_database(credentials, gate, monkeypatch):
    """Also if it fails; whoever waited is told so too."""
    await made(credentials)
    await gate.load()
    monkeypatch.setattr(gate_module, "_LOOK_AGAIN_SECONDS", 0.05)
    await trio.sleep(0.06)
    gate._credentials = Troubled(credentials, "keys", 1000, Unavailable("down"))
    refused: list[Exception] = []

    async def ask(number: int) -> None:
        try:
            await gate.by_key(f"proctor_{number:016x}_{'A' * 43}")
        except (Unavailable, Unauthenticated) as failure:
            refused.append(failure)

    async with trio.open_nursery() as asking:
        for number in range(100):
            asking.start_soon(ask, number)
    assert gate._credentials.times > 990
    assert {type(failure) for failure in refused} == {Unavailable}


async def test_a_database_that_takes_no_notes_still_tells_what_was_revoked(
    credentials, gate, nursery, monkeypatch
):
    monkeypatch.setattr(gate_module, "REFRESH_SECONDS", 0.02)
    text, key = await made(credentials)
    await gate.load()
    await gate.by_key(text)
    gate._credentials = Troubled(credentials, "note_use", 1000, Unavailable("read-only"))
    nursery.start_soon(gate.refresh)
    await credentials.revoke_key(key.key_id, NOW)
    with trio.fail_after(10), pytest.raises(Unauthenticated, match="was revoked"):
        await use_for_ever(gate, text)
