"""Reviews, exports, statistics and links to candidates, as a running server with keys does them."""

import csv
import io
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jwt
import msgspec
import pytest

from proctor.access.keys import make_key
from proctor.access.roles import Role
from proctor.audit import Action, Audit
from proctor.storage.audit_log import AuditLog
from proctor.storage.credentials import Credentials
from proctor.storage.database import Database
from proctor.storage.pool import Pool, open_pool
from tests.fixtures.server import Server, open_server, settings_for
from tests.reviewed import sat

pytestmark = pytest.mark.usefixtures("hard_limit")

NOTE = "a very personal note about somebody"
XSS = "<script>alert(1)</script>"


class Staff:
    """A server with authentication on, and a few people's keys."""

    def __init__(self, server: Server, pool: Pool, keys: dict[str, str]) -> None:
        self.server = server
        self.pool = pool
        self.database = Database(pool)
        self.keys = keys

    async def ask(self, who: str, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.keys[who]}"}
        return await self.server.http.request(method, f"/api/v1{path}", headers=headers, **options)

    async def get(self, who: str, path: str, **query: Any) -> Any:
        answer = await self.ask(who, "GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def act(self, who: str, session_id: str, act: str, **more: Any) -> Any:
        """Do something on the sight of all there is."""
        review = await self.get(who, f"/review/{session_id}")
        asked = {"seen": review["number"], "version": review["version"], "act": act, **more}
        answer = await self.ask(who, "POST", f"/review/{session_id}", json=asked)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def trail(self) -> list[dict[str, Any]]:
        audit = Audit(AuditLog(self.pool), lambda: 0)
        assert (await audit.verify()).intact
        return [msgspec.structs.asdict(each) for each in reversed(await audit.entries())]


@asynccontextmanager
async def open_staff(tmp_path, **options: Any) -> AsyncIterator[Staff]:
    settings = settings_for(tmp_path, **options)
    keys = {}
    async with open_pool(settings) as pool:
        for name in ("ann", "bob"):
            text, key = make_key(name, frozenset({Role.REVIEWER}), now_ms=0)
            await Credentials(pool).add_key(key)
            keys[name] = str(text)
        async with open_server(settings) as server:
            staff = Staff(server, pool, keys)
            await sat(staff.database, "a", "high", shadow="multiple_faces", metadata={"seat": XSS})
            await sat(staff.database, "b", "none", shadow="multiple_faces")
            await sat(staff.database, "-d", "short")
            yield staff


@pytest.fixture
async def staff(tmp_path) -> AsyncIterator[Staff]:
    async with open_staff(tmp_path) as opened:
        yield opened


async def test_a_session_is_reviewed_by_two(staff):
    """From the queue to the decision, and each act is in the trail without a word about anybody."""
    queue = await staff.get("ann", "/review")
    assert [(each["session_id"], each["state"]) for each in queue["sessions"]] == [
        ("a", "open"),
        ("b", "open"),
    ]
    assert [
        each["session_id"]
        for each in (await staff.get("ann", "/review", priority="insufficient"))["sessions"]
    ] == ["-d"]
    review = await staff.get("ann", "/review/a")
    assert (review["number"], review["look"], review["second_reviewer"]) == (0, 1, "referred")
    first, second, *_ = [each["key"] for each in review["findings"]]
    await staff.act("ann", "a", "confirm", finding=first, reason="as_reported", note=NOTE)
    await staff.act("ann", "a", "dismiss", finding=second, reason="technical")
    await staff.act("ann", "a", "undo", undoes=2)
    review = await staff.act("ann", "a", "decide", decision="referred", note=NOTE)
    assert (review["state"], review["look"], review["undoable"]) == ("awaiting_second", None, [4])
    theirs = await staff.get("bob", "/review/a")
    assert (theirs["look"], theirs["acts"], theirs["number"]) == (2, [], 4)
    assert NOTE not in str(theirs)
    assert all(each["judgements"] == [] for each in theirs["findings"])
    await staff.act("bob", "a", "dismiss", finding=first, reason="harmless")
    review = await staff.act("bob", "a", "decide", decision="no_issue")
    assert (review["state"], review["decision"]) == ("decided", "no_issue")
    judged = review["findings"][0]["judgements"]
    assert [(each["look"], each["reviewer"], each["act"]) for each in judged] == [
        (1, "ann", "confirm"),
        (2, "bob", "dismiss"),
    ]
    queue = await staff.get("bob", "/review", state="decided")
    assert [(each["session_id"], each["decision"]) for each in queue["sessions"]] == [("a", "no_issue")]
    trail = [each for each in await staff.trail() if each["action"] == Action.REVIEWED]
    assert [
        (each["actor"], each["subject"], msgspec.json.decode(each["after"])["act"]) for each in trail
    ] == [
        ("ann", "a", "confirm"),
        ("ann", "a", "dismiss"),
        ("ann", "a", "undo"),
        ("ann", "a", "decide"),
        ("bob", "a", "dismiss"),
        ("bob", "a", "decide"),
    ]
    assert msgspec.json.decode(trail[2]["before"])["number"] == 2
    assert "personal" not in str(trail)
    assert "candidate of" not in str(trail)


async def test_who_has_not_seen_all_is_told_what_there_is(staff):
    review = await staff.get("bob", "/review/a")
    key = review["findings"][0]["key"]
    await staff.act("ann", "a", "confirm", finding=key)
    asked = {"seen": 0, "version": 1, "act": "dismiss", "finding": key, "reason": "harmless"}
    answer = await staff.ask("bob", "POST", "/review/a", json=asked)
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (409, "application/problem+json")
    assert "there are act 1 and version 1" in problem["detail"]
    assert problem["review"] == await staff.get("bob", "/review/a")
    for wrong, status, field in (
        ({"finding": "x"}, 400, "finding"),
        ({"act": "applaud"}, 400, "act"),
        ({"reason": "because"}, 400, "reason"),
        ({"note": "\0"}, 400, "note"),
        ({"seen": -1}, 400, "seen"),
    ):
        answer = await staff.ask("bob", "POST", "/review/a", json=asked | {"seen": 1} | wrong)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (status, field)
    assert (await staff.get("bob", "/review/a"))["number"] == 1
    assert (await staff.ask("bob", "GET", "/review/nobody")).status_code == 404


async def test_the_queue_is_exported_whole_and_no_cell_is_a_formula(staff):
    await sat(staff.database, "e", "none", exam_id='=HYPERLINK("http://x";"y")')
    await staff.act("ann", "b", "decide", decision="no_issue")
    answer = await staff.ask("ann", "GET", "/review.csv")
    assert answer.content.startswith(b"\xef\xbb\xbf")
    assert answer.headers["content-disposition"] == 'attachment; filename="review.csv"'
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))
    assert [row["session_id"] for row in rows] == ["a", "b", "e", "'-d"]
    assert rows[2]["exam_id"] == '\'=HYPERLINK("http://x";"y")'
    assert (rows[1]["decision"], rows[1]["score"], rows[0]["decision"]) == ("no_issue", "0", "")
    whole = await staff.get("ann", "/review.json", state="open")
    assert [each["session_id"] for each in whole["sessions"]] == ["a", "e", "-d"]
    assert await staff.get("ann", "/review.json", exam_id="none") == {"sessions": []}
    exported = [each for each in await staff.trail() if each["action"] == Action.EXPORTED]
    assert [(each["subject"], each["after"]) for each in exported] == [
        ("review", "{}"),
        ("review", '{"state":"open"}'),
        ("review", '{"exam_id":"none"}'),
    ]


async def test_a_session_is_exported_as_a_page_with_its_review(staff):
    key = (await staff.get("ann", "/review/a"))["findings"][0]["key"]
    await staff.act("ann", "a", "confirm", finding=key, note=XSS)
    answer = await staff.ask("ann", "GET", "/session/a/report.html")
    assert answer.headers["content-disposition"] == 'attachment; filename="a.html"'
    page = answer.text
    assert "Review priority high" in page
    assert "confirmed" in page
    assert XSS not in page
    assert "&lt;script&gt;alert(1)" in page


async def test_an_exam_in_figures(staff):
    keys = [each["key"] for each in (await staff.get("ann", "/review/a"))["findings"]]
    await staff.act("ann", "a", "confirm", finding=keys[0])
    await staff.act("ann", "a", "dismiss", finding=keys[1], reason="technical")
    await staff.act("ann", "b", "decide", decision="no_issue")
    told = await staff.get("ann", "/exam/algebra/statistics")
    assert (told["sessions"], told["priorities"]["high"], told["priorities"]["insufficient"]) == (3, 1, 1)
    assert (sum(told["scores"]["bins"]), told["scores"]["sessions"]) == (2, 2)
    phone = next(each for each in told["rules"] if each["rule"] == "phone")
    assert (phone["confirmed"], phone["dismissed"], phone["precision"]) == (1, 1, 0.5)
    assert phone["interval"]["low"] == pytest.approx(0.0945, abs=1e-4)
    [shadow] = told["shadow"]
    assert (shadow["rule"], shadow["alerted"], shadow["sessions"]) == ("multiple_faces", 1, 2)
    assert (told["reviews"]["decided"], told["decisions"]) == (1, {"no_issue": 1})
    assert (await staff.get("ann", "/exam/none at all/statistics"))["sessions"] == 0


class TestTransparency:
    """A candidate's own page."""

    async def link(self, staff: Staff, session_id: str = "a") -> str:
        answer = await staff.ask("ann", "POST", f"/session/{session_id}/transparency")
        assert answer.status_code == 200, answer.text
        url = answer.json()["url"]
        assert url.startswith(f"{staff.server.url}/transparency/")
        return url

    async def test_it_tells_what_is_kept_and_takes_a_statement(self, staff, capfd):
        url = await self.link(staff)
        http = staff.server.http
        answer = await http.get(url)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "Something like a phone was in the picture" in answer.text
        assert XSS not in answer.text
        origin = {"Origin": staff.server.url}
        said = f"It was my calculator.\r\n{XSS}"
        sent = await http.post(url, data={"statement": said}, headers=origin)
        assert (sent.status_code, sent.headers["location"]) == (303, httpx.URL(url).path)
        page = (await http.get(url)).text
        assert "It was my calculator.\n&lt;script&gt;" in page
        review = await staff.get("ann", "/review/a")
        assert (review["statement"]["note"], review["statement"]["reviewer"]) == (
            said.replace("\r", ""),
            "candidate",
        )
        for wrong in ("", " \n ", "x" * 4001, "a\0b"):
            assert (await http.post(url, data={"statement": wrong})).status_code == 400
        await staff.act("ann", "a", "decide", decision="no_issue")
        late = await http.post(url, data={"statement": "and another thing"})
        assert (late.status_code, "the review is over" in late.text) == (409, True)
        trail = str(await staff.trail())
        assert "calculator" not in trail
        [stated] = [each for each in await staff.trail() if each["action"] == Action.STATED]
        assert (stated["actor"], stated["address"], stated["subject"]) == ("candidate", None, "a")
        token = url.rpartition("/")[2]
        assert token.rpartition(".")[2] not in "".join(capfd.readouterr()) + trail

    async def test_a_link_is_for_one_session_until_it_expires(self, staff):
        url = await self.link(staff)
        token = url.rpartition("/")[2]
        [key] = await Credentials(staff.pool).signing_keys()
        claims = jwt.decode(token, options={"verify_signature": False})

        def signed(**changes: Any) -> str:
            made = jwt.encode(claims | changes, bytes.fromhex(key.secret), "HS256", {"kid": key.kid})
            return f"/transparency/{made}"

        http = staff.server.http
        assert (await http.get(signed())).status_code == 200
        for wrong in (
            signed(exp=1),
            signed(aud="proctor-candidate"),
            f"/transparency/{token[:-2]}xx",
            "/transparency/none",
            signed(began=1),
            signed(sid="nobody"),
        ):
            answer = await http.get(wrong)
            assert answer.status_code in (401, 404)
            assert answer.headers["content-type"].startswith("text/html")
            assert "This link does not open anything" in answer.text
            assert (await http.post(wrong, data={"statement": "x"})).status_code in (401, 404)
        # Nor does it open anything else, and no candidate's token opens the page.
        bearer = {"Authorization": f"Bearer {token}"}
        assert (await http.get("/api/v1/session/a", headers=bearer)).status_code == 401
        assert re.search(r"/transparency/[\w.-]+$", url)
