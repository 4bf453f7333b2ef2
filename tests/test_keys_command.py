"""`proctor keys`, as an administrator types it, beside a server that is running."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
import trio

from tests.fixtures.process import proctor, serve

pytestmark = pytest.mark.slow


async def made(folder: Path, *arguments: str) -> str:
    done = await proctor(folder, "keys", "create", *arguments)
    assert done.returncode == 0, done
    assert done.stderr == ""
    return done.stdout.strip()


async def listed(folder: Path) -> list[dict[str, object]]:
    return json.loads((await proctor(folder, "keys", "list", "--format", "json")).stdout)


async def answers(status: int, ask: Callable[[], Awaitable[httpx.Response]]) -> None:
    """Wait until the server answers so; it looks at its keys every few seconds."""
    with trio.fail_after(20):
        while (await ask()).status_code != status:  # noqa: ASYNC110
            await trio.sleep(0.2)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_the_first_key_turns_authentication_on_in_a_running_server(tmp_path: Path):
    """From then on its holder gets in and nobody else; once revoked, its holder does not either."""
    async with serve(tmp_path) as server:
        path = f"{server.url}/api/v1/session"
        async with httpx.AsyncClient(timeout=30) as http:
            assert (await http.get(path)).status_code == 200
            key = await made(tmp_path, "exam desk", "--role", "integration", "--role", "proctor")
            await answers(401, lambda: http.get(path))
            assert (await http.get(path, headers=bearer(key))).status_code == 200
            [kept] = await listed(tmp_path)
            assert (kept["name"], kept["state"]) == ("exam desk", "valid")
            assert kept["roles"] == ["integration", "proctor"]
            assert key not in str(kept)
            done = await proctor(tmp_path, "keys", "revoke", str(kept["id"]))
            assert (done.returncode, "exam desk" in done.stdout) == (0, True)
            await answers(401, lambda: http.get(path, headers=bearer(key)))
    [kept] = await listed(tmp_path)
    assert kept["state"] == "revoked"
    assert kept["last_used_at"] is not None
    subject = ["--subject", str(kept["id"])]
    told = (await proctor(tmp_path, "audit", "list", *subject, "--format", "json")).stdout.splitlines()
    revoked, created = map(json.loads, told)
    assert (created["action"], revoked["action"]) == ("key_created", "key_revoked")
    assert created["subject"] == revoked["subject"] == kept["id"]
    assert created["address"] == "console"
    assert key not in str(told)


async def test_names_from_outside_do_nothing_to_the_terminal(tmp_path: Path):
    await made(tmp_path, "[red]evil[/]\x1b[2J", "--role", "reviewer", "--expires-days", "3")
    shown = (await proctor(tmp_path, "keys", "list", COLUMNS="200")).stdout
    assert "[red]evil[/]?[2J" in shown
    assert "\x1b" not in shown
    [kept] = await listed(tmp_path)
    assert kept["expires_at"] > kept["created_at"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", "x", "--role", "candidate"], ["candidate", "integration, proctor, reviewer"]),
        (["create", "x", "--role", "root"], ["root", "admin, integration"]),
        (["revoke", "0123456789abcdef"], ["no key", "keys list"]),
        (["create", "Server", "--role", "admin"], ["take another name"]),
    ],
)
async def test_mistakes_are_told_in_one_line(tmp_path: Path, arguments, words):
    done = await proctor(tmp_path, "keys", *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert all(each in line for each in words), line
    assert await listed(tmp_path) == []


async def test_tokens_are_void_at_once_after_a_rotation_that_says_so(tmp_path: Path):
    async with serve(tmp_path) as server, httpx.AsyncClient(base_url=server.url, timeout=30) as http:
        key = await made(tmp_path, "desk", "--role", "integration")
        await answers(401, lambda: http.get("/api/v1/session"))
        body = {"exam_session_id": "exam", "candidate_id": "c"}
        started = await http.post("/api/v1/session/start", json=body, headers=bearer(key))
        token = started.json()["token"]

        async def look_up() -> httpx.Response:
            return await http.get("/api/v1/session/exam", headers=bearer(token))

        assert (await look_up()).status_code == 200
        assert (await proctor(tmp_path, "keys", "rotate")).returncode == 0
        again = await http.post("/api/v1/session/start", json=body, headers=bearer(key))
        assert again.status_code == 200
        assert (await look_up()).status_code == 200
        assert (await proctor(tmp_path, "keys", "rotate", "--at-once")).returncode == 0
        await answers(401, look_up)
