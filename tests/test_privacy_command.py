"""`proctor erase` and `proctor export`, beside a server that asks for keys."""

import json
import stat
from pathlib import Path

import pytest

from proctor.access.holder import VARIABLE
from tests.fixtures.process import ServerProcess, proctor, serve

pytestmark = pytest.mark.slow
CANDIDATE = "/C/1 é?"


def dumps(folder: Path) -> list[Path]:
    return list(folder.rglob("*_frames*"))


def listed(folder: Path) -> list[Path]:
    return list(folder.glob(".export.json*"))


async def key(folder: Path, role: str) -> str:
    return (await proctor(folder, "keys", "create", role, "--role", role)).stdout.strip()


async def sat(server: ServerProcess, desk: str, session_id: str) -> None:
    headers = {"Authorization": f"Bearer {desk}"}
    body = {"exam_session_id": session_id, "candidate_id": CANDIDATE}
    answer = await server.http.post("/api/v1/session/start", json=body, headers=headers)
    token = answer.json()["token"]
    frame = {"session_id": session_id, "seq": 1, "extracted_features": {"face_present": 1}}
    bearer = {"Authorization": f"Bearer {token}"}
    sent = await server.http.post("/api/v1/session/ws/fallback", json=frame, headers=bearer)
    assert sent.status_code == 202


async def test_what_is_kept_about_a_candidate_is_handed_out_and_erased(tmp_path: Path):
    """Whatever its name; by a key that may, and by no other."""
    admin, desk = await key(tmp_path, "admin"), await key(tmp_path, "integration")
    async with serve(tmp_path) as server:
        await sat(server, desk, "one")
        await sat(server, desk, "two")
        where = ["--candidate", CANDIDATE, "--url", server.url]
        file = tmp_path / "export.json"
        for wrong in (desk, ""):
            refused = await proctor(tmp_path, "export", *where, "-o", str(file), **{VARIABLE: wrong})
            assert refused.returncode == 2
            assert "admin" in refused.stderr or "API key" in refused.stderr
            assert not file.exists()
        done = await proctor(tmp_path, "export", *where, "-o", str(file), **{VARIABLE: admin})
        assert done.returncode == 0, done
        file.chmod(0o644)
        done = await proctor(tmp_path, "export", *where, "-o", str(file), **{VARIABLE: admin})
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        sessions = json.loads(file.read_bytes())["sessions"]
        assert [(each["session"]["session_id"], len(each["frames"])) for each in sessions] == [
            ("one", 1),
            ("two", 1),
        ]
        assert [path.name for path in listed(tmp_path)] == [], "no part is left behind"
        one = await proctor(tmp_path, "erase", "--session", "one", "--url", server.url, **{VARIABLE: admin})
        assert (one.returncode, one.stdout.split()) == (0, ["erased", "1", "session:", "one"])
        rest = await proctor(tmp_path, "erase", *where, **{VARIABLE: admin})
        assert (rest.returncode, rest.stdout.split()) == (0, ["erased", "1", "session:", "two"])
        none = await proctor(tmp_path, "erase", *where, **{VARIABLE: admin})
        assert (none.returncode, "no session is of candidate" in none.stderr) == (2, True)
    assert dumps(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["erase"], "either --session or --candidate"),
        (["erase", "--session", "a", "--candidate", "b"], "either --session or --candidate"),
        (["erase", "--session", "a", "--url", "http://127.0.0.1:9"], "http://127.0.0.1:9/api/v1/session/a"),
        (["export", "--candidate", "b", "-o", "x", "--url", "http://127.0.0.1:9"], "http://127.0.0.1:9"),
    ],
)
async def test_mistakes_are_told_in_one_line(tmp_path: Path, arguments, words):
    done = await proctor(tmp_path, *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert words in line
