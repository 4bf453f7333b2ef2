"""The audit trail: one chain whoever appends to it, and whatever is done to it shows."""

import hashlib
import json
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
import trio
from hypothesis import given
from hypothesis import strategies as st

from proctor import audit as audit_module
from proctor.audit import Action, Audit, Verification
from proctor.chain import START, Entry, Event, Fault, Head, Walk, canonical, seal
from proctor.errors import InvalidRequest, Misconfigured, Unavailable
from proctor.settings import Settings
from proctor.storage import audit_log as audit_log_module
from proctor.storage.audit_log import AuditLog, open_audit
from proctor.storage.backends import backend_of
from proctor.storage.bridge import open_bridge
from proctor.storage.database import open_database
from proctor.storage.pool import open_pool
from proctor.storage.schema import upgrade_schema
from proctor.storage.tables import audit_log
from tests.fixtures.postgres import PostgresHandle

T0 = 1_767_603_600_000
TRIGGERS = {
    "sqlite": ["audit_log_no_update", "audit_log_no_delete", "audit_log_no_replace"],
    "postgresql": ["audit_log_append_only", "audit_log_no_delete"],
}
FIELDS = Entry.__struct_fields__


class Clock:
    def __init__(self) -> None:
        self.ms = T0

    def __call__(self) -> int:
        self.ms += 1000
        return self.ms


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(_env_file=None, database_url=database_url)


@pytest.fixture
async def audit(settings: Settings) -> AsyncIterator[Audit]:
    await upgrade_schema(settings)
    async with open_pool(settings) as pool:
        yield Audit(AuditLog(pool), Clock())


async def sql(settings: Settings, *statements: Any) -> None:
    """Run statements in one transaction, past Proctor."""

    async def unit() -> None:
        async with backend_of(settings).engine(seconds=5).begin() as connection:
            for statement in statements:
                await connection.execute(sa.text(statement) if isinstance(statement, str) else statement)

    async with open_bridge() as bridge:
        await bridge.run(unit)


async def tamper(settings: Settings, *statements: Any) -> None:
    """Do what the owner of the database can: drop the triggers first."""
    kind = backend_of(settings).kind
    where = "" if kind == "sqlite" else " ON audit_log"
    await sql(settings, *(f"DROP TRIGGER {name}{where}" for name in TRIGGERS[kind]), *statements)


async def record(audit: Audit, count: int, actor: str = "office") -> list[Entry]:
    return [
        await audit.record(
            Action.EXPORTED, f"s{n}", actor=actor, address="192.0.2.7", before={"n": n}, after=[n]
        )
        for n in range(1, count + 1)
    ]


async def everything(audit: Audit) -> list[Entry]:
    found = await audit.entries(limit=500)
    assert len(found) < 500
    return found[::-1]


def resealed(entries: list[Entry]) -> list[Entry]:
    """Return a chain that says the same and holds by itself."""
    head, chain = START, []
    for entry in entries:
        event = Event(**{name: getattr(entry, name) for name in Event.__struct_fields__})
        chain.append(seal(event, head))
        head = Head(chain[-1].number, chain[-1].hash)
    return chain


def rewritten(entries: list[Entry]) -> list[Any]:
    """Statements that leave exactly these entries."""
    rows = [msgspec.structs.asdict(entry) for entry in entries]
    return [sa.delete(audit_log), *(sa.insert(audit_log).values(row) for row in rows)]


async def test_an_entry_says_what_was_recorded(audit: Audit) -> None:
    entry = await audit.record(
        Action.KEY_CREATED, "key-1", actor="operator", address="console", after={"b": 1, "a": [None, "ü"]}
    )
    assert entry == Entry(
        number=1,
        at_ms=T0 + 1000,
        actor="operator",
        address="console",
        action="key_created",
        subject="key-1",
        before=None,
        after='{"a":[null,"ü"],"b":1}',
        previous="0" * 64,
        hash=entry.hash,
    )
    second = await audit.record(Action.KEY_REVOKED, "key-1", actor="anonymous", address=None, before=0)
    assert (second.number, second.previous, second.before) == (2, entry.hash, "0")
    assert await audit.entries() == [second, entry]
    assert await audit.verify() == Verification(Head(2, second.hash), None)


async def test_an_empty_trail_is_intact(audit: Audit) -> None:
    assert await audit.verify() == await audit.verify(START) == Verification(START, None)
    assert await audit.entries() == []


async def test_anybody_can_compute_the_hash_from_the_columns(audit: Audit, settings: Settings) -> None:
    """With nothing but what the README says, here Python's own JSON."""
    odd = "".join(map(chr, range(1, 0x20))) + '"\\/\x7f\x80\u2028é😀'
    await audit.record(Action.ERASED, odd, actor=odd, address=None, before={odd: odd}, after=1.5e300)
    await audit.record(Action.ERASED, odd, actor=odd, address=odd, before={odd: 2**70}, after=[])
    rows: list[dict[str, Any]] = []

    async def read() -> None:
        async with backend_of(settings).engine(seconds=5).begin() as connection:
            found = await connection.execute(sa.select(audit_log).order_by(audit_log.c.number))
            rows.extend(dict(row) for row in found.mappings())

    async with open_bridge() as bridge:
        await bridge.run(read)
    assert len(rows) == 2
    previous = "0" * 64
    for row in rows:
        said = row.pop("hash")
        text = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert row["previous"] == previous
        previous = hashlib.sha256(text.encode()).hexdigest()
        assert said == previous


async def test_a_long_trail_is_verified_page_by_page(
    audit: Audit, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than a page is asked for at a time, and what is wrong in a late one is found."""
    entries = await record(audit, 40)
    limits = []
    oldest = AuditLog.oldest

    async def counted(self: AuditLog, *, after: int | None, limit: int) -> list[Entry]:
        limits.append(limit)
        return await oldest(self, after=after, limit=limit)

    monkeypatch.setattr(AuditLog, "oldest", counted)
    monkeypatch.setattr(audit_module, "PAGE_ENTRIES", 7)
    assert await audit.verify() == Verification(Head(40, entries[-1].hash), None)
    assert limits == [7] * 7
    await tamper(settings, "UPDATE audit_log SET actor = 'x' WHERE number = 36")
    found = await audit.verify()
    assert found.head == Head(35, entries[34].hash)
    assert found.fault is not None
    assert found.fault.number == 36


async def test_many_tasks_make_one_chain(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each gets an entry of its own at the first attempt, and that is the one that is kept."""
    monkeypatch.setattr(audit_log_module, "_ATTEMPTS", 1)
    mine: list[Entry] = []

    async def one(number: int) -> None:
        mine.append(await audit.record(Action.EXPORTED, str(number), actor="a", address=None))

    async with trio.open_nursery() as nursery:
        for number in range(60):
            nursery.start_soon(one, number)
    assert sorted(mine, key=lambda entry: entry.number) == await everything(audit)
    assert {entry.subject for entry in mine} == set(map(str, range(60)))
    assert (await audit.verify()).head.number == 60


async def test_two_servers_make_one_chain(settings: Settings) -> None:
    await upgrade_schema(settings)
    async with open_audit(settings) as one, open_audit(settings) as other:
        async with trio.open_nursery() as nursery:
            for audit, name in ((one, "one"), (other, "other"), (one, "third"), (other, "fourth")):
                nursery.start_soon(record, audit, 25, name)
        entries = await everything(other)
        assert sorted((entry.actor, entry.subject) for entry in entries) == sorted(
            (name, f"s{n}") for name in ("one", "other", "third", "fourth") for n in range(1, 26)
        )
        assert [entry.number for entry in entries] == list(range(1, 101))
        assert await one.verify() == Verification(Head(100, entries[-1].hash), None)


@pytest.mark.slow
async def test_processes_make_one_chain(settings: Settings) -> None:
    await upgrade_schema(settings)
    code = textwrap.dedent(
        """
        import sys, trio
        from proctor.audit import Action
        from proctor.settings import Settings
        from proctor.storage.audit_log import open_audit

        async def main():
            async with open_audit(Settings(_env_file=None, database_url=sys.argv[1])) as audit:
                print("ready", flush=True)
                sys.stdin.readline()
                for n in range(30):
                    await audit.record(Action.EXPORTED, str(n), actor=sys.argv[2], address=None)

        trio.run(main)
        """
    )
    processes = [
        subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-W", "error", "-c", code, settings.database_url, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await trio.to_thread.run_sync(process.stdout.readline) == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [(await trio.to_thread.run_sync(process.communicate))[1] for process in processes]
    assert errors == [""] * 3
    async with open_audit(settings) as audit:
        entries = await everything(audit)
        for name in ("0", "1", "2"):
            assert [entry.subject for entry in entries if entry.actor == name] == list(map(str, range(30)))
        assert await audit.verify() == Verification(Head(90, entries[-1].hash), None)


async def test_a_trail_that_grows_meanwhile_is_intact(
    audit: Audit, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over many pages, while another server appends."""
    monkeypatch.setattr(audit_module, "PAGE_ENTRIES", 3)
    seen = []
    async with open_audit(settings) as other, trio.open_nursery() as nursery:
        nursery.start_soon(record, other, 60)
        while not seen or seen[-1] < 60:
            found = await audit.verify()
            assert found.intact
            seen.append(found.head.number)
    assert len(set(seen)) > 2


async def test_cancelled_records_leave_a_chain_that_goes_on(audit: Audit) -> None:
    """However early or late they are cancelled."""
    for step in range(40):
        with trio.move_on_after(step * 0.0003):
            await audit.record(Action.EXPORTED, f"cancelled {step}", actor="a", address=None)
    last = await audit.record(Action.EXPORTED, "last", actor="a", address=None)
    assert await audit.verify() == Verification(Head(last.number, last.hash), None)
    subjects = [entry.subject for entry in await everything(audit)]
    assert len(set(subjects)) == len(subjects)


async def test_who_always_comes_too_late_is_told(
    audit: Audit, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if others were faster each time: nothing is appended, and the next may try again."""
    await record(audit, 1)
    monkeypatch.setattr(audit_log_module, "_PAUSE_SECONDS", 0.0001)
    if backend_of(settings).kind == "sqlite":
        ignore = ["CREATE TRIGGER late BEFORE INSERT ON audit_log BEGIN SELECT RAISE(IGNORE); END"]
        stop = "DROP TRIGGER late"
    else:
        ignore = [
            "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
            "CREATE TRIGGER late BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION late()",
        ]
        stop = "DROP TRIGGER late ON audit_log"
    await sql(settings, *ignore)
    with pytest.raises(Unavailable, match="others"):
        await audit.record(Action.EXPORTED, "s", actor="a", address=None)
    assert (await audit.verify()).head.number == 1
    await sql(settings, stop)
    assert (await audit.record(Action.EXPORTED, "s", actor="a", address=None)).number == 2


async def test_on_a_hung_database_nobody_waits_for_another(
    postgres_url: str, postgres_server: PostgresHandle
) -> None:
    """Records take turns, but no longer than each would have waited alone."""
    settings = Settings(_env_file=None, database_url=postgres_url, database_timeout_seconds=0.5)
    await upgrade_schema(settings)
    async with open_audit(settings) as audit:
        await record(audit, 1)
        postgres_server.pause()
        began = time.monotonic()

        async def fail() -> None:
            with pytest.raises(Unavailable):
                await audit.record(Action.EXPORTED, "s", actor="a", address=None)

        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(fail)
        assert time.monotonic() - began < 1.5
        postgres_server.resume()
        await record(audit, 1)
        assert (await audit.verify()).intact


OTHER_VALUES = {
    "at_ms": "5",
    "actor": "'somebody'",
    "address": "NULL",
    "action": "'erased'",
    "subject": "'s9'",
    "before": "'{\"n\": 3}'",
    "after": "NULL",
    "previous": f"'{'0' * 64}'",
    "hash": f"'{'0' * 64}'",
}


@pytest.mark.parametrize("field", OTHER_VALUES)
async def test_a_changed_field_shows(audit: Audit, settings: Settings, field: str) -> None:
    """In the middle and at the end; JSON also where it only looks different."""
    entries = await record(audit, 4)
    for number in (4, 3):
        change = f'UPDATE audit_log SET "{field}" = {OTHER_VALUES[field]} WHERE number = {number}'
        await (tamper if number == 4 else sql)(settings, change)
        found = await audit.verify()
        assert found.head == Head(number - 1, entries[number - 2].hash)
        assert found.fault is not None
        assert found.fault.number == number
        assert not found.intact


async def test_every_field_is_among_those_changed() -> None:
    assert set(OTHER_VALUES) | {"number"} == set(FIELDS)


SWAP = [
    "UPDATE audit_log SET number = 99 WHERE number = 2",
    "UPDATE audit_log SET number = 2 WHERE number = 3",
    "UPDATE audit_log SET number = 3 WHERE number = 99",
]


@pytest.mark.parametrize(
    ("statements", "number", "reason"),
    [
        (["DELETE FROM audit_log WHERE number = 1"], 1, "missing"),
        (["DELETE FROM audit_log WHERE number = 3"], 3, "missing"),
        (["DELETE FROM audit_log WHERE number IN (2, 3)"], 2, "missing"),
        (
            [
                "DELETE FROM audit_log WHERE number = 3",
                "UPDATE audit_log SET number = 3 WHERE number = 4",
                "UPDATE audit_log SET number = 4 WHERE number = 5",
            ],
            3,
            "does not follow",
        ),
        (SWAP, 2, "does not follow"),
        ([*SWAP, "UPDATE audit_log SET number = number + 100"], 1, "missing"),
        (["UPDATE audit_log SET number = 9 WHERE number = 5"], 5, "missing"),
        (["UPDATE audit_log SET number = -number WHERE number = 1"], -1, "inserted"),
    ],
)
async def test_what_is_removed_or_swapped_shows(
    audit: Audit, settings: Settings, statements: list[str], number: int, reason: str
) -> None:
    await record(audit, 5)
    await tamper(settings, *statements)
    found = await audit.verify()
    assert found.fault is not None
    assert found.fault.number == number
    assert reason in found.fault.reason


async def test_what_is_inserted_shows(audit: Audit, settings: Settings) -> None:
    """Sealed well, at the place where it is to seem to have been, with the others moved up."""
    entries = await record(audit, 5)
    event = Event(**{name: getattr(entries[0], name) for name in Event.__struct_fields__})
    forged = seal(event, Head(2, entries[1].hash))
    moved = [msgspec.structs.replace(entry, number=entry.number + 1) for entry in entries[2:]]
    await tamper(settings, *rewritten([*entries[:2], forged, *moved]))
    found = await audit.verify()
    assert found.head == Head(3, forged.hash)
    assert found.fault is not None
    assert found.fault.number == 4
    for number in (0, -1):
        await sql(settings, *rewritten([msgspec.structs.replace(forged, number=number), *entries]))
        found = await audit.verify()
        assert found.fault is not None
        assert found.fault.number == number


async def test_a_cut_end_shows_against_a_noted_head_only(audit: Audit, settings: Settings) -> None:
    entries = await record(audit, 5)
    heads = [Head(entry.number, entry.hash) for entry in entries]
    for noted in [START, *heads]:
        assert await audit.verify(noted) == Verification(heads[-1], None)
    await tamper(settings, "DELETE FROM audit_log WHERE number > 3")
    assert (await audit.verify()).intact
    assert (await audit.verify(heads[2])).intact
    for noted in heads[3:]:
        found = await audit.verify(noted)
        assert found.head == heads[2]
        assert found.fault == Fault(4, f"is missing: entries up to {noted.number} were noted")
    await sql(settings, "DELETE FROM audit_log")
    found = await audit.verify(heads[0])
    assert found.fault is not None
    assert found.fault.number == 1


async def test_a_chain_written_anew_shows_against_a_noted_head_only(audit: Audit, settings: Settings) -> None:
    """With other content from entry 2 on, and every hash computed again."""
    entries = await record(audit, 5)
    forged = [entries[0], msgspec.structs.replace(entries[1], actor="nobody"), *entries[2:]]
    await tamper(settings, *rewritten(resealed(forged)))
    assert (await audit.verify()).intact
    assert (await audit.verify(Head(1, entries[0].hash))).intact
    for entry in entries[1:]:
        found = await audit.verify(Head(entry.number, entry.hash))
        assert found.fault is not None
        assert found.fault.number == entry.number
        assert "noted" in found.fault.reason


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("actor", "CAST(x'ff41' AS TEXT)"),
        ("actor", "x'6f6666696365'"),
        ("at_ms", "'soon'"),
        ("number", "'three'"),
        ("hash", "CAST(x'ff' AS TEXT)"),
        ("previous", "x'00'"),
    ],
)
async def test_values_that_sqlite_lets_into_any_column_show(tmp_path: Path, field: str, value: str) -> None:
    """And can still be listed."""
    settings = Settings(_env_file=None, database_url=f"sqlite:///{tmp_path}/x.sqlite3")
    await upgrade_schema(settings)
    async with open_audit(settings) as audit:
        await record(audit, 3)
        await tamper(settings, f"UPDATE audit_log SET {field} = {value} WHERE number = 3")
        found = await audit.verify()
        assert found.head.number == 2
        assert found.fault is not None
        assert len(await audit.entries()) == 3


REFUSED = [
    "UPDATE audit_log SET actor = 'x'",
    "UPDATE audit_log SET actor = 'x' WHERE number = 2",
    "DELETE FROM audit_log",
    "DELETE FROM audit_log WHERE number = 3",
]


@pytest.mark.parametrize("statement", REFUSED)
async def test_the_database_refuses_to_change_entries(
    audit: Audit, settings: Settings, statement: str
) -> None:
    entries = await record(audit, 3)
    with pytest.raises(sa.exc.DBAPIError, match="audit_log is append-only"):
        await sql(settings, statement)
    assert await everything(audit) == entries


@pytest.mark.parametrize(
    "statements",
    [
        ["TRUNCATE audit_log"],
        ["SET LOCAL session_replication_role = replica", "DELETE FROM audit_log"],
        ["INSERT INTO audit_log SELECT * FROM audit_log ON CONFLICT (number) DO UPDATE SET actor = 'x'"],
    ],
)
async def test_postgresql_refuses_other_ways_too(postgres_url: str, statements: list[str]) -> None:
    settings = Settings(_env_file=None, database_url=postgres_url)
    await upgrade_schema(settings)
    async with open_audit(settings) as audit:
        entries = await record(audit, 3)
        with pytest.raises(sa.exc.DBAPIError, match="audit_log is append-only"):
            await sql(settings, *statements)
        assert await everything(audit) == entries


@pytest.mark.parametrize("verb", ["REPLACE INTO", "INSERT OR REPLACE INTO"])
async def test_sqlite_replaces_no_entry(tmp_path: Path, verb: str) -> None:
    """REPLACE would delete without a trigger's notice."""
    settings = Settings(_env_file=None, database_url=f"sqlite:///{tmp_path}/x.sqlite3")
    await upgrade_schema(settings)
    async with open_audit(settings) as audit:
        entries = await record(audit, 3)
        columns = ", ".join("'x'" if name == "actor" else f'"{name}"' for name in audit_log.c.keys())  # noqa: SIM118
        await sql(settings, f"{verb} audit_log SELECT {columns} FROM audit_log")
        assert await everything(audit) == entries


async def test_texts_that_postgresql_refuses_are_mended(audit: Audit) -> None:
    """Nothing is refused, and who looks for the same text finds the entry."""
    hostile = "a\0b\ud800c\udfffd \x1b[31m'; DROP TABLE audit_log; --"
    mended = hostile.replace("\0", "\ufffd").replace("\ud800", "\ufffd").replace("\udfff", "\ufffd")
    entry = await audit.record(
        Action.ERASED, hostile, actor=hostile, address=hostile, before={hostile: [hostile]}, after="\0"
    )
    assert (entry.actor, entry.address, entry.subject) == (mended,) * 3
    assert entry.before is not None
    assert json.loads(entry.before) == {
        mended.replace("a\ufffdb", "a\0b"): [mended.replace("a\ufffdb", "a\0b")]
    }
    assert entry.after == '"\\u0000"'
    assert await audit.entries(subject=hostile, actor=hostile) == [entry]
    assert (await audit.verify()).intact


async def test_long_texts_are_cut_and_stay_apart(audit: Audit) -> None:
    """Four bytes a character, in every index; the longest that fits is kept whole."""
    fits = "".join(chr(0x20000 + n * 37) for n in range(512))
    one, other = fits + "1", fits + "2"
    for text in (fits, one, other):
        entry = await audit.record(Action.EXPORTED, text, actor=text, address=text)
        assert entry.actor == entry.address == entry.subject
        assert await audit.entries(subject=text, actor=text) == [entry]
        assert len(entry.actor) == 512
        if text == fits:
            assert entry.actor == fits
        else:
            assert entry.actor == fits[:447] + "…" + hashlib.sha256(text.encode()).hexdigest()
    assert (await audit.verify()).intact


async def test_long_values_leave_their_hash(audit: Audit) -> None:
    """64 KiB of JSON are kept, one byte more are not."""
    for length, kept in ((65_534, True), (65_535, False)):
        text = "x" * length
        entry = await audit.record(Action.POLICY_CHANGED, "p", actor="a", address=None, before=text, after=1)
        assert entry.before is not None
        written = json.dumps(text)
        digest = {"length": length + 2, "sha256": hashlib.sha256(written.encode()).hexdigest()}
        assert json.loads(entry.before) == (text if kept else digest)
        assert entry.after == "1"
    assert (await audit.verify()).intact


class Thing(msgspec.Struct):
    b: int = 1
    a: tuple[int, ...] = (1, 2)


async def test_any_value_that_json_expresses_is_written_one_way(audit: Audit) -> None:
    """Whatever the order of its keys; what JSON cannot express is a mistake, and records nothing."""
    for value, text in (
        ({"b": 1, "a": {"d": None, "c": True}}, '{"a":{"c":true,"d":null},"b":1}'),
        ({2: {"x", "w"}, 1: Action.ERASED}, '{"1":"erased","2":["w","x"]}'),
        ([Thing()], '[{"a":[1,2],"b":1}]'),
        (float("nan"), "null"),
        ("", '""'),
        (False, "false"),
    ):
        entry = await audit.record(Action.EXPORTED, "s", actor="a", address=None, before=value, after=value)
        assert (entry.before, entry.after) == (text, text)
    with pytest.raises(TypeError):
        await audit.record(Action.EXPORTED, "s", actor="a", address=None, before=object())
    assert (await audit.verify()).head.number == 6


async def test_entries_are_found_newest_first_and_by_page(audit: Audit) -> None:
    for n in range(12):
        action = Action.ERASED if n % 2 else Action.EXPORTED
        await audit.record(action, f"s{n % 3}", actor=f"a{n % 4}", address=None)

    async def numbers(**filters: Any) -> list[int]:
        return [entry.number for entry in await audit.entries(**filters)]

    assert await numbers() == list(range(12, 0, -1))
    assert await numbers(subject="s0") == [10, 7, 4, 1]
    assert await numbers(actor="a1") == [10, 6, 2]
    assert await numbers(action=Action.ERASED, limit=2) == [12, 10]
    assert await numbers(action=Action.ERASED, limit=2, before=10) == [8, 6]
    assert await numbers(since_ms=T0 + 11_000) == [12, 11]
    assert await numbers(subject="s0", actor="a1", action=Action.ERASED) == [10]
    assert await numbers(subject="S0") == await numbers(subject="") == await numbers(before=1) == []


async def test_a_page_is_bounded(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "PAGE_ENTRIES", 3)
    await record(audit, 5)
    assert [entry.number for entry in await audit.entries(limit=100)] == [5, 4, 3]


async def test_no_database_is_no_intact_trail(settings: Settings) -> None:
    """A mistyped URL must not be taken for one without entries; nothing is created."""
    for _ in range(2):
        with pytest.raises(Misconfigured, match="no database") as refusal:
            async with open_audit(settings):
                pass
        assert refusal.value.field == "database_url"
    if backend_of(settings).kind == "sqlite":
        async with open_database(settings):
            pass
    else:
        await upgrade_schema(settings)
    async with open_audit(settings) as audit:
        assert (await audit.verify()).intact


def test_heads_are_read_as_they_are_written() -> None:
    head = Head(17, "ab" * 32)
    assert str(head) == f"17:{'ab' * 32}"
    assert Head.parse(f" {str(head).upper()}\n") == head
    assert Head.parse(str(START)) == START
    for text in ("", "17", "17:", f"x:{'ab' * 32}", f"-1:{'ab' * 32}", f"17:{'ag' * 32}", f"17:{'ab' * 33}"):
        with pytest.raises(InvalidRequest) as refusal:
            Head.parse(text)
        assert refusal.value.field == "head"
    for text in (f"0:{'ab' * 32}", f"{'9' * 19}:{'ab' * 32}", f"\u0661:{'ab' * 32}"):
        with pytest.raises(InvalidRequest):
            Head.parse(text)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
EVENTS = st.builds(
    Event,
    at_ms=st.integers(-(2**53), 2**53),
    actor=TEXTS,
    address=st.none() | TEXTS,
    action=st.sampled_from([action.value for action in Action]),
    subject=TEXTS,
    before=st.none() | TEXTS,
    after=st.none() | TEXTS,
)
HEADS = st.builds(
    Head, st.integers(0, 2**40), st.binary(min_size=32, max_size=32).map(lambda digest: digest.hex())
)


@given(EVENTS, HEADS)
def test_a_hash_is_of_the_same_bytes_for_everybody(event: Event, head: Head) -> None:
    entry = seal(event, head)
    fields = {name: getattr(entry, name) for name in FIELDS if name != "hash"}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert canonical(entry) == text.encode()
    assert entry.hash == hashlib.sha256(text.encode()).hexdigest()
    assert (entry.number, entry.previous) == (head.number + 1, head.hash)


@given(EVENTS, EVENTS, HEADS, HEADS)
def test_a_hash_depends_on_each_field(event: Event, other: Event, head: Head, second: Head) -> None:
    """Whichever one differs, and differently for each."""
    changed = [
        seal(msgspec.structs.replace(event, **{field: getattr(other, field)}), head)
        for field in Event.__struct_fields__
        if getattr(event, field) != getattr(other, field)
    ]
    places = {Head(second.number, head.hash), Head(head.number, second.hash)} - {head}
    changed += [seal(event, place) for place in places]
    assert len({entry.hash for entry in changed} | {seal(event, head).hash}) == len(changed) + 1


@given(EVENTS, TEXTS, TEXTS)
def test_a_text_never_passes_for_its_neighbours(event: Event, one: str, other: str) -> None:
    straight = msgspec.structs.replace(event, actor=one, subject=other)
    crossed = msgspec.structs.replace(event, actor=other, subject=one)
    assert (seal(straight, START).hash == seal(crossed, START).hash) == (one == other)


def _drop(chain: list[Entry], place: int) -> None:
    del chain[place]


def _swap(chain: list[Entry], place: int) -> None:
    chain[place], chain[place + 1] = chain[place + 1], chain[place]


def _replace(chain: list[Entry], place: int) -> None:
    chain[place] = chain[place + 1]


def _alter(chain: list[Entry], place: int) -> None:
    chain[place] = msgspec.structs.replace(chain[place], actor=chain[place].actor + "x")


@given(
    st.lists(EVENTS, min_size=2, max_size=8),
    st.integers(0),
    st.sampled_from([_drop, _swap, _replace, _alter]),
)
def test_a_walk_ends_where_the_chain_was_changed(
    events: list[Event], place: int, change: Callable[[list[Entry], int], None]
) -> None:
    chain: list[Entry] = []
    head = START
    for event in events:
        chain.append(seal(event, head))
        head = Head(chain[-1].number, chain[-1].hash)
    walk = Walk(head)
    assert [walk.step(entry) for entry in chain] == [None] * len(chain)
    assert (walk.head, walk.end()) == (head, None)
    place %= len(chain) - 1
    change(chain, place)
    walk = Walk()
    assert [walk.step(entry) for entry in chain[:place]] == [None] * place
    assert walk.step(chain[place]) is not None
    assert walk.head.number == place
