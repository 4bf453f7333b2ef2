"""The privacy page: complete, true for the server that answers, and open to everybody."""

import re
from html import unescape

import pytest
from pydantic import SecretStr

from proctor.audit import Action
from proctor.features import VOCABULARY
from proctor.storage.encryption import new_key
from proctor.storage.tables import metadata
from proctor.web.kept import SERVER_KEYS, everything_kept
from tests.fixtures.browser import Page
from tests.fixtures.server import open_server, settings_for
from tests.house import house_settings, open_house
from tests.test_erasure import sat


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html)))


@pytest.mark.usefixtures("hard_limit")
async def test_it_says_all_that_is_kept_by_the_settings_of_this_server(tmp_path, page: Page):
    """To who brings no key, in a browser that runs and loads nothing from elsewhere."""
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "sparse.toml").write_text('[storage]\ndrop = ["gazePoint_x", "gazePoint_y"]\n')
    settings = settings_for(
        tmp_path,
        policy_directory=policies,
        authentication="required",
        dump_retention_days=30,
        audit_retention_days=400,
        session_idle_hours=12,
        dump_encryption_key=SecretStr(new_key()),
    )
    async with open_server(settings) as server:
        answer = await server.http.get("/privacy")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "style=" not in answer.text
        assert "<script" not in answer.text
        await page.call("goto", f"{server.url}/privacy")
        assert await page.call("title") == "Privacy: what this server keeps"
    said = text_of(answer.text)
    names = [column.name for table in metadata.tables.values() for column in table.columns]
    for name in (*VOCABULARY, *SERVER_KEYS, *names, *(each.value for each in Action)):
        assert re.search(rf"\b{name}\b", said), name
    for fact in (
        "a file of the server, encrypted 30 days after the session's end",
        "database, exam_sessions it is erased",
        "400 days after it happened",
        "received nothing for 12 hours",
        "sparse gazePoint_x , gazePoint_y",
        "default none",
        "1 hour after they were stored",
    ):
        assert fact in said, fact


def test_every_table_is_told_of_and_the_earlier_of_two_times(tmp_path):
    kept = everything_kept(house_settings(tmp_path, dump_retention_days=9, report_retention_days=3), "redis")
    told = {each.where for each in kept}
    assert {f"database, `{name}`" for name in metadata.tables} <= told
    assert [each.until for each in kept if "dump" in each.what] == ["3 days after the session's end"]
    assert "frame store (Redis)" in told


async def test_a_stored_frame_has_no_other_keys_of_the_server(tmp_path):
    async with open_house(house_settings(tmp_path)) as house:
        await sat(house, "exam", ended=False)
        (frame,) = (await house.store.read("exam", limit=1)).frames
    keys = set(re.findall(r'"(\w+)":', frame.decode()))
    assert keys - set(VOCABULARY) - {"note"} <= set(SERVER_KEYS)
