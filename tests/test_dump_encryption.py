"""Encrypted dumps: opened by every key that is there, by nobody else, and inside the same as plain ones."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from pydantic import SecretStr
from typer.testing import CliRunner

from proctor.cli import app
from proctor.errors import InvalidRequest, Misconfigured, Unavailable
from proctor.evaluation.sittings import recorded as labelled
from proctor.export import check_dumps
from proctor.reanalysis import Wish
from proctor.simulator.replay import Recording
from proctor.storage import encryption
from proctor.storage.dumps import dump_path, find_dump, read_dump, remove_dump, write_dump
from proctor.storage.encryption import DumpKeys, Encrypting, new_key, open_dump
from proctor.testing import recorded
from tests.fixtures.server import open_server, settings_for
from tests.house import House, house_settings, open_house
from tests.test_erasure import SECRET, T0, erasure_of, export_of, sat, traces

OLD, NEW = new_key(), new_key()
WISH = Wish(requested_by="board", reason="appeal")


def stored(number: int) -> bytes:
    stamp = f"2026-01-05T09:{number // 60 % 60:02}:{number % 60:02}.000Z"
    return f'{{"face_present":1,"n":{number},"session_id":"exam","timestamp":"{stamp}"}}'.encode()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(house_settings(tmp_path, dump_encryption_key=SecretStr(NEW))) as opened:
        yield opened


async def write(directory: Path, key: str = NEW, count: int = 5000) -> Path:
    return await write_dump(directory, "exam", map(stored, range(count)), DumpKeys(key))


@pytest.mark.parametrize("count", [0, 1, 5000])
async def test_inside_it_is_the_same_as_a_plain_one(tmp_path, count):
    """The newest key encrypts, each opens, and decrypted it is byte for byte what it would have been."""
    plain = await write_dump(tmp_path / "plain", "exam", map(stored, range(count)))
    path = await write(tmp_path, f"{NEW}, {OLD}", count)
    assert path == tmp_path / "exam_frames.json.age" == find_dump(tmp_path, "exam")
    assert path.stat().st_mode & 0o777 == 0o600
    assert b"face_present" not in path.read_bytes()
    for keys in (NEW, f"{OLD}\n{NEW}"):
        with open_dump(path, DumpKeys(keys)) as file:
            assert file.read() == plain.read_bytes()
        assert read_dump(path, keys=DumpKeys(keys)) == read_dump(plain)
    with pytest.raises(Unavailable, match="has no key that opens it"):
        read_dump(path, keys=DumpKeys(OLD))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["exam_frames.json.age", "plain"]


async def test_one_that_is_removed_just_when_it_is_read_holds_up_nobody(tmp_path, monkeypatch):
    path = await write(tmp_path)
    looked = encryption.is_encrypted

    def removed_then(asked: Path) -> bool:
        found = looked(asked)
        asked.unlink()
        return found

    monkeypatch.setattr(encryption, "is_encrypted", removed_then)
    with trio.fail_after(5), open_dump(path, DumpKeys(NEW)) as file, pytest.raises(OSError, match="damaged"):
        await trio.to_thread.run_sync(file.read, abandon_on_cancel=True)


async def test_without_its_key_nothing_is_lost_and_the_setting_is_named(tmp_path, monkeypatch):
    path = await write(tmp_path, OLD, 10)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DUMP_ENCRYPTION_KEY", raising=False)
    with pytest.raises(Unavailable, match="DUMP_ENCRYPTION_KEY is not set; add its key") as caught:
        read_dump(path)
    assert caught.value.field == "dump_encryption_key"
    monkeypatch.setenv("DUMP_ENCRYPTION_KEY", "AGE-SECRET-KEY-1NONE")
    with pytest.raises(Misconfigured, match="key 1 is no secret age key; `proctor dump key` makes one"):
        read_dump(path)
    monkeypatch.setenv("DUMP_ENCRYPTION_KEY", f"{NEW},{OLD}")
    assert len(read_dump(path)) == len(recorded(path)) == len(Recording.load(path)) == 10
    (tmp_path / "exam_labels.json").write_text('{"intervals": []}')
    (sitting,) = labelled([tmp_path], [])
    assert (sitting.name, len(sitting.load()[0].frames)) == ("exam", 10)


def changed(data: bytes) -> bytes:
    return data[:-1000] + bytes([data[-1000] ^ 1]) + data[-999:]


@pytest.mark.parametrize("damage", [changed, lambda data: data[:-1], lambda data: data[:100]])
async def test_damage_shows(tmp_path, damage):
    """Also where only the end is missing, after all that was read was right."""
    path = await write(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InvalidRequest, match="it is encrypted, and damaged"):
        read_dump(path, keys=DumpKeys(NEW))


async def test_a_dump_that_is_not_read_to_its_end_holds_nothing(tmp_path):
    path = await write(tmp_path, count=20_000)
    with open_dump(path, DumpKeys(NEW)) as file:
        assert file.readline() == b"[\n"


def test_a_disk_that_refuses_is_told_to_who_writes():
    with Path("/dev/full").open("wb", buffering=0) as full:
        encrypting = Encrypting(full, DumpKeys(NEW))
        with pytest.raises(OSError, match="No space left"):
            encrypting.write(b"x" * 10_000_000)
        with pytest.raises(OSError, match="No space left"):
            encrypting.close()


async def test_what_was_there_in_the_other_form_is_replaced(tmp_path):
    await write(tmp_path, "", 1)
    await write(tmp_path, NEW, 1)
    assert [each.name for each in tmp_path.iterdir()] == ["exam_frames.json.age"]
    await write(tmp_path, "", 1)
    assert [each.name for each in tmp_path.iterdir()] == ["exam_frames.json"]
    await write(tmp_path, NEW, 1)
    await remove_dump(tmp_path, "exam")
    assert list(tmp_path.iterdir()) == []


async def test_a_session_goes_its_whole_way(house, tmp_path):
    """Ended, judged again, exported and erased; in plain it is on no disk once it has ended."""
    await sat(house, "exam")
    folder = house.settings.dump_directory
    assert [each.name for each in folder.glob("*.*")] == ["exam_frames.json.age"]
    assert not [each for each in traces(folder) if each.suffix != ".sqlite3"]
    analysis, _ = await house.reanalysis.reanalyze("exam", WISH)
    assert analysis.version == 2
    (session,) = (await export_of(house, "C-1"))["sessions"]
    assert len(session["frames"]) == 20
    assert session["frames"][0]["note"] == SECRET
    await erasure_of(house, T0).erase("exam", {"actor": "admin", "address": None})
    assert find_dump(folder, "exam") is None


async def test_a_lost_key_stops_no_end_and_is_said(tmp_path):
    """What needs the dump is answered with the reason, before any of an export is on its way."""
    settings = house_settings(tmp_path, dump_encryption_key=SecretStr(NEW))
    async with open_house(settings) as house:
        await sat(house, "exam")
    other = settings.model_copy(update={"dump_encryption_key": SecretStr(OLD)})
    async with open_house(other) as later:
        await sat(later, "exam-2", "C-2")
        with pytest.raises(Unavailable, match=r"frames\.json\.age is encrypted, and DUMP_ENCRYPTION_KEY"):
            await later.reanalysis.reanalyze("exam", WISH)
        with pytest.raises(Unavailable, match="has no key that opens it"):
            await check_dumps([await later.sessions.get("exam")], other)
        await check_dumps([await later.sessions.get("exam-2")], other)


async def test_the_command_decrypts_to_a_file_for_its_owner_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    key = CliRunner().invoke(app, ["dump", "key"]).output.strip()
    await write(tmp_path, key, 3)
    monkeypatch.setenv("DUMP_ENCRYPTION_KEY", key)
    command = ["dump", "decrypt", "exam_frames.json.age"]
    assert CliRunner().invoke(app, command).exit_code == 0
    plain = dump_path(tmp_path, "exam")
    assert plain.stat().st_mode & 0o777 == 0o600
    assert [each["n"] for each in json.loads(plain.read_bytes())] == [0, 1, 2]
    again = CliRunner().invoke(app, command)
    assert (again.exit_code, "exam_frames.json is there already" in again.stderr) == (2, True)
    not_encrypted = CliRunner().invoke(app, ["dump", "decrypt", "exam_frames.json"])
    assert (not_encrypted.exit_code, "is not encrypted" in not_encrypted.stderr) == (2, True)
    monkeypatch.setenv("DUMP_ENCRYPTION_KEY", OLD)
    wrong = CliRunner().invoke(app, [*command, "-o", "other.json"])
    assert (wrong.exit_code, wrong.stderr.startswith("Unavailable: DUMP_ENCRYPTION_KEY: exam_")) == (2, True)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["exam_frames.json", "exam_frames.json.age"]


async def test_settings_that_cannot_be_read_are_named_without_what_is_in_them(tmp_path, monkeypatch):
    path = await write(tmp_path, count=1)
    monkeypatch.setenv("PORT", "secret")
    with pytest.raises(Misconfigured, match=r"mend these settings first: PORT$"):
        read_dump(path)


async def test_a_server_draws_and_exports_what_it_has_encrypted(tmp_path):
    async with open_server(settings_for(tmp_path, dump_encryption_key=SecretStr(NEW))) as server:
        start = {"exam_session_id": "exam", "candidate_id": "C-1"}
        assert (await server.http.post("/api/v1/session/start", json=start)).status_code == 200
        frame = {"session_id": "exam", "face_present": 1, "no_of_face": 1}
        assert (await server.http.post("/api/v1/session/ws/fallback", json=frame)).status_code == 202
        assert (await server.http.post("/api/v1/session/exam/end")).status_code == 204
        assert find_dump(tmp_path / "dumps", "exam") == tmp_path / "dumps/exam_frames.json.age"
        assert (await server.http.get("/api/v1/session/exam/signals")).status_code == 200
        export = (await server.http.get("/api/v1/candidate/C-1")).json()
        assert [each["no_of_face"] for each in export["sessions"][0]["frames"]] == [1]
        (tmp_path / "dumps/exam_frames.json.age").unlink()
        assert (await server.http.get("/api/v1/session/exam/signals")).status_code == 404
