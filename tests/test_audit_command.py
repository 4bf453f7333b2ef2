"""`proctor audit`: what it prints, how it exits, and that nothing in an entry reaches the terminal raw."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import trio
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from proctor.audit import Action, Audit
from proctor.chain import Entry
from proctor.cli import app
from proctor.cli import audit as command
from proctor.settings import Settings
from proctor.storage.audit_log import AuditLog
from proctor.storage.backends import backend_of
from proctor.storage.bridge import open_bridge
from proctor.storage.pool import open_pool
from proctor.storage.schema import upgrade_schema

T0 = 1_767_603_600_000
ZEROS = "0" * 64
README = Path(__file__).parent.parent / "README.md"
HOSTILE = "[red]x[/red] :smile: \x1b[31m\x1b]0;owned\x07 \r\n\x9b2J \u202eevil\u2028 \\x"


@pytest.fixture
def settings(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database_url)
    return Settings(_env_file=None, database_url=database_url)


def run(*arguments: str) -> Result:
    done = CliRunner().invoke(app, ["audit", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def fill(settings: Settings, *records: dict[str, Any]) -> list[Entry]:
    """Append entries, one second apart."""
    entries: list[Entry] = []
    usual = {"action": Action.EXPORTED, "subject": "s", "actor": "office", "address": "192.0.2.7"}

    async def main() -> None:
        await upgrade_schema(settings)
        async with open_pool(settings) as pool:
            audit = Audit(AuditLog(pool), lambda: T0 + 1000 * len(entries))
            for each in records:
                entries.append(await audit.record(**usual | each))  # noqa: PERF401 - the clock counts them

    trio.run(main)
    return entries


def sql(settings: Settings, *statements: str) -> None:
    async def unit() -> None:
        async with backend_of(settings).engine(seconds=5).begin() as connection:
            for statement in statements:
                await connection.execute(sa.text(statement))

    async def main() -> None:
        async with open_bridge() as bridge:
            await bridge.run(unit)

    trio.run(main)


def tamper(settings: Settings, *statements: str) -> None:
    if backend_of(settings).kind == "sqlite":
        drops = [f"DROP TRIGGER audit_log_no_{what}" for what in ("update", "delete", "replace")]
    else:
        drops = [f"DROP TRIGGER audit_log_{what} ON audit_log" for what in ("append_only", "no_delete")]
    sql(settings, *drops, *statements)


def test_an_intact_trail_exits_with_0_and_prints_its_head(settings: Settings) -> None:
    fill(settings)
    done = run("verify")
    assert (done.exit_code, done.output) == (0, f"0 entries, intact, head 0:{ZEROS}\n")
    (one,) = fill(settings, {})
    assert run("verify").output == f"1 entry, intact, head 1:{one.hash}\n"
    *_, last = fill(settings, {}, {})
    done = run("verify")
    assert (done.exit_code, done.output) == (0, f"3 entries, intact, head 3:{last.hash}\n")
    for head in (f"0:{ZEROS}", f"1:{one.hash}", f"3:{last.hash}"):
        done = run("verify", "--head", head)
        assert (done.exit_code, done.output) == (0, f"3 entries, intact, head 3:{last.hash}\n")


def test_a_changed_entry_exits_with_1_and_is_named(settings: Settings) -> None:
    entries = fill(settings, {}, {}, {})
    tamper(settings, "UPDATE audit_log SET actor = 'nobody' WHERE number = 2")
    done = run("verify")
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "entry 2 does not say what was recorded: its hash is of something else",
        f"1 entry before it, intact, head 1:{entries[0].hash}",
    ]


def test_a_removed_entry_exits_with_1_and_is_named(settings: Settings) -> None:
    fill(settings, {}, {}, {})
    tamper(settings, "DELETE FROM audit_log WHERE number = 2")
    done = run("verify")
    assert done.exit_code == 1
    assert done.stdout.startswith("entry 2 is missing: the next one is 3\n")


def test_a_cut_end_exits_with_1_if_the_head_was_noted(settings: Settings) -> None:
    entries = fill(settings, {}, {}, {})
    tamper(settings, "DELETE FROM audit_log WHERE number = 3")
    assert run("verify").exit_code == 0
    done = run("verify", "--head", f"3:{entries[2].hash}")
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "entry 3 is missing: entries up to 3 were noted",
        f"2 entries before it, intact, head 2:{entries[1].hash}",
    ]
    done = run("verify", "--head", f"2:{'ab' * 32}")
    assert done.exit_code == 1
    assert done.stdout.startswith("entry 2 is not the one that was noted")


def test_what_cannot_be_checked_exits_with_2(settings: Settings, tmp_path: Path) -> None:
    """No database, which is not created either; no such head; no such time."""
    for what in ("verify", "list"):
        done = run(what)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith("Misconfigured: DATABASE_URL: there is no database")
    assert list(tmp_path.iterdir()) == []
    fill(settings, {})
    for arguments in (
        ("verify", "--head", "17"),
        ("verify", "--head", "\x1b[31m[red]"),
        ("list", "--since", "yesterday\x1b[31m"),
        ("list", "--limit", "0"),
        ("list", "--action", "nothing"),
        ("list", "--format", "yaml"),
    ):
        done = run(*arguments)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr
        assert "\x1b[31m" not in done.stderr


def test_a_database_that_is_down_exits_with_2(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres_url.replace("/proctor_", "/absent_"))
    for what in ("verify", "list"):
        done = run(what)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith("Misconfigured: DATABASE_URL: the database refuses")


def test_the_readme_names_every_action() -> None:
    for action in Action:
        assert f"`{action.value}`" in README.read_text()


def test_entries_are_listed_newest_first(settings: Settings) -> None:
    assert fill(settings) == []
    done = run("list")
    assert (done.exit_code, done.output) == (0, "")
    fill(
        settings,
        {"action": Action.KEY_CREATED, "subject": "key-1", "actor": "operator", "address": "console"},
        {"before": {"grant": 1}, "after": {"grant": 2}},
        {"actor": "anonymous", "address": None, "after": ["ü"]},
    )
    assert run("list").output.splitlines() == [
        '3  2026-01-05T09:00:02.000Z  exported s by anonymous: nothing → ["ü"]',
        '2  2026-01-05T09:00:01.000Z  exported s by office from 192.0.2.7: {"grant":1} → {"grant":2}',
        "1  2026-01-05T09:00:00.000Z  key_created key-1 by operator from console",
    ]


def test_filters_choose_what_is_listed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it takes several pages."""
    monkeypatch.setattr(command, "PAGE_ENTRIES", 3)
    fill(
        settings,
        *(
            {"subject": f"s{n % 2}", "actor": f"a{n % 3}", "action": list(Action)[n % 4], "after": n}
            for n in range(12)
        ),
    )

    def listed(*arguments: str) -> list[int]:
        return [
            json.loads(line)["number"]
            for line in run("list", "--format", "json", *arguments).output.splitlines()
        ]

    assert listed() == list(range(12, 0, -1))
    assert listed("--limit", "7") == list(range(12, 5, -1))
    assert listed("--limit", "6") == list(range(12, 6, -1))
    assert listed("--limit", "1") == [12]
    assert listed("--subject", "s0") == [11, 9, 7, 5, 3, 1]
    assert listed("--actor", "a1", "--limit", "4") == [11, 8, 5, 2]
    assert listed("--action", "accommodation_granted") == [11, 7, 3]
    assert listed("--since", "2026-01-05T09:00:10Z") == [12, 11]
    assert listed("--since", "2026-01-05T10:00:10+01:00") == [12, 11]
    assert listed("--since", "2026-01-05") == list(range(12, 0, -1))
    assert listed("--subject", "s0", "--actor", "a2", "--action", "accommodation_granted") == [3]
    assert listed("--subject", "nobody") == []


def test_json_lines_are_what_the_hash_is_of(settings: Settings) -> None:
    """A program can verify what it was given, by the README alone."""
    fill(settings, {"subject": HOSTILE, "before": {"b": HOSTILE, "a": 1.0}}, {"address": None, "after": []})
    lines = run("list", "--format", "json").output.splitlines()
    (example,) = re.findall(r"<!-- verifies -->\n```python\n(.*?)```", README.read_text(), re.DOTALL)

    def verified(line: str) -> dict[str, Any]:
        names: dict[str, Any] = {"line": line, "json": json, "hashlib": hashlib}
        exec(example, names)
        return names

    previous = ZEROS
    for line in reversed(lines):
        assert verified(line)["intact"]
        assert not verified(line.replace("office", "nobody"))["intact"]
        assert json.loads(line)["previous"] == previous
        previous = json.loads(line)["hash"]
    assert len(lines) == 2
    assert json.loads(lines[1])["subject"] == HOSTILE
    assert json.loads(json.loads(lines[1])["before"]) == {"a": 1.0, "b": HOSTILE}


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_is_in_an_entry_does_not_reach_the_terminal_raw(settings: Settings, form: str) -> None:
    """One line per entry, no control character, and markup is text like any other."""
    fill(
        settings,
        {"subject": HOSTILE, "actor": HOSTILE, "address": HOSTILE, "before": HOSTILE, "after": HOSTILE},
    )
    output = run("list", "--format", form).stdout_bytes.decode()
    assert output.endswith("\n")
    assert output.count("\n") == 1
    assert output[:-1].isprintable()
    assert output.count("[red]x[/red] :smile: ") == 5
    assert run("list", "--subject", HOSTILE).output != ""


def test_a_forged_number_or_action_does_not_reach_the_terminal_raw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite takes any text as a number."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/x.sqlite3")
    settings = Settings(_env_file=None, database_url=f"sqlite:///{tmp_path}/x.sqlite3")
    fill(settings, {}, {})
    tamper(
        settings,
        "UPDATE audit_log SET number = char(27) || '[31m', action = char(27), at_ms = 'soon', "
        "actor = CAST(x'ff1b' AS TEXT), subject = x'1b' WHERE number = 2",
    )
    done = run("verify")
    assert done.exit_code == 1
    assert done.stdout.startswith("entry \\u001b[31m holds a value that cannot have been recorded\n")
    for form in ("text", "json"):
        done = run("list", "--format", form)
        assert done.exit_code == 0
        lines = done.output.splitlines()
        assert len(lines) == 2
        assert all(line.isprintable() for line in lines)


@given(st.text(st.characters()))
def test_printable_text_is_printable_and_otherwise_the_same(text: str) -> None:
    shown = command.printable(text)
    assert shown.isprintable()
    if text.isprintable():
        assert shown == text
    elif "\\" not in text:
        assert json.loads(f'"{shown.replace(chr(34), chr(92) + chr(34))}"') == text
