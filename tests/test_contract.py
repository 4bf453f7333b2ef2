"""The usage document, line by line, against the real server; on every combination of stores."""

import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import msgspec
import pytest
import trio
from trio_websocket import ConnectionClosed

from proctor.settings import Settings
from proctor.storage.schema import upgrade_schema
from proctor.times import ms_from_iso
from tests.document import DOCUMENTED
from tests.fixtures.redis import RedisServer
from tests.fixtures.server import Server, open_server, settings_for

pytestmark = pytest.mark.usefixtures("hard_limit")

FEATURES = DOCUMENTED
RAW = {"session_id": "demo_session", **FEATURES}
EVENT = {"event": "TAB_SWITCHED", "lv": 9, "ts": 1767603600000, "source": "browser", "frameNumber": 7}


@pytest.fixture(params=["sqlite", "redis", "redis+postgresql"])
async def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of a small, a middle and a large deployment, ready to be served."""
    chosen = {}
    if "redis" in request.param:
        chosen["redis_url"] = request.getfixturevalue("redis_url")
    if "postgresql" in request.param:
        chosen["database_url"] = request.getfixturevalue("postgres_url")
    settings = settings_for(tmp_path, **chosen)
    if "postgresql" in request.param:
        await upgrade_schema(settings)
    return settings


@pytest.fixture
async def anywhere(deployment: Settings) -> AsyncIterator[Server]:
    """The server on each deployment."""
    async with open_server(deployment) as running:
        yield running


async def test_an_exam_from_start_to_report(anywhere: Server):
    """What is streamed is stored, judged live, judged finally, dumped, and the same afterwards."""
    server = anywhere
    started = await server.start("exam-1", exam_id="maths")
    assert started.status_code == 200
    assert started.json()["status"] == "active"
    assert started.json()["session_id"] == "exam-1"
    assert started.json()["websocket_url"] == server.stream_url("exam-1")
    assert (await server.start("exam-1", exam_id="maths")).status_code == 200

    async with server.stream("exam-1") as client:
        begins = 1767603600000
        assert (await client.ask({"type": "clock", "timestamp": begins + 10_000}))["type"] == "clock"
        for seq in range(20):
            message = {"seq": seq, "extracted_features": {**FEATURES, "timestamp": begins + 500 * seq}}
            assert await client.ask(message) == {"type": "ack", "seq": seq}
        live = (await server.post("exam-1", "analyze")).json()
        assert live["session_info"]["final"] is False
        assert live["session_info"]["total_frames"] == 20
        assert "phone" in {finding["category"] for finding in live["findings"]}
        frames = await server.frames("exam-1")
        ended = await client.receive()
        assert ended["type"] == "session_ended"
        assert set(ended) == {"type", "session_id", "timestamp"}
        with pytest.raises(ConnectionClosed) as closed:
            await client.receive()
        assert closed.value.reason.code == 1000

    assert [frame["phone_conf"] for frame in frames] == [87] * 20
    assert all(frame["session_id"] == "exam-1" for frame in frames)
    assert len({frame["frame_id"] for frame in frames}) == 20
    final = await server.post("exam-1", "analyze")
    assert final.json()["session_info"]["final"] is True
    assert (await server.post("exam-1", "analyze")).content == final.content
    assert (await server.post("exam-1", "end")).status_code == 204
    assert (await server.start("exam-1")).status_code == 409
    looked_up = (await server.http.get("/api/v1/session/exam-1")).json()
    assert looked_up["status"] == "ended"
    assert looked_up["ended_at"] is not None


SHAPES = {
    "wrapper": {"extracted_features": FEATURES},
    "typed wrapper": {"type": "frame", "payload": FEATURES},
    "typed wrapper, frame": {"type": "frame", "frame": FEATURES},
    "raw": RAW,
    "frame_data": {"frame_data": RAW},
    "engine event": {**EVENT, "extractedFeatures": FEATURES},
    "typed engine event": {"type": "event", "event": {**EVENT, "extractedFeatures": FEATURES}},
    "batch": {"type": "batch", "frames": [FEATURES]},
}


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
async def test_every_shape_is_one_stored_frame(server: Server, binary):
    """Whatever the wrapper, the same features are stored, with the server's four keys."""
    async with server.stream("demo_session") as client:
        for seq, shape in enumerate(SHAPES.values()):
            encoded = msgspec.json.encode({**shape, "seq": seq})
            assert await client.ask(encoded if binary else encoded.decode()) == {"type": "ack", "seq": seq}
    frames = await server.frames("demo_session")
    assert len(frames) == len(SHAPES)
    for shape, frame in zip(SHAPES, frames, strict=True):
        assert {name: frame[name] for name in FEATURES} == FEATURES
        assert {"session_id", "frame_id", "timestamp", "received_at"} <= set(frame)
        if "event" in shape:
            assert frame["event"] == EVENT


async def test_an_event_without_features_is_a_frame(server: Server):
    async with server.stream("demo_session") as client:
        await client.ask({**EVENT, "seq": 1, "extractedFeatures": None})
    (frame,) = await server.frames("demo_session")
    assert frame["event"] == EVENT
    assert "face_present" not in frame


async def test_a_batch_counts_its_frames(server: Server):
    async with server.stream("demo_session") as client:
        reply = await client.ask(
            {"type": "batch", "frames": [FEATURES, EVENT, {"extracted_features": {}}], "seq": 5}
        )
        assert reply == {"type": "ack", "seq": 5}
    assert len(await server.frames("demo_session")) == 3


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("", "invalid_json"),
        (b"", "invalid_json"),
        ("[]", "invalid_message"),
        ({"type": "batch", "frames": []}, "invalid_message"),
        ({"type": "nonsense"}, "unknown_type"),
        ({"extracted_features": {"phone_present": "yes"}}, "invalid_feature"),
        ({"extracted_features": {"timestamp": []}}, "invalid_timestamp"),
        ({"seq": -1, "extracted_features": {}}, "invalid_seq"),
        (FEATURES, "missing_session"),
        ({**RAW, "session_id": "somebody_else"}, "wrong_session"),
        ({"type": "batch", "frames": [{}] * 501}, "too_many_frames"),
    ],
)
async def test_a_message_that_cannot_be_used_gets_an_error_and_the_connection_goes_on(
    server: Server, message, code
):
    async with server.stream("demo_session") as client:
        reply = await client.ask(message)
        assert reply["type"] == "error"
        assert reply["code"] == code
        assert reply["detail"]
        assert await client.ask({**RAW, "seq": 1}) == {"type": "ack", "seq": 1}
    assert len(await server.frames("demo_session")) == 1


async def test_an_error_names_the_seq_of_its_message(server: Server):
    async with server.stream("demo_session") as client:
        assert (await client.ask({"seq": 8, "type": "nonsense"}))["seq"] == 8


async def test_a_seq_is_stored_once_also_after_a_reconnect_to_another_process(deployment: Settings):
    """Acknowledged again, not stored again; other content under the same seq is refused."""
    first, other = {**RAW, "seq": 3}, {**RAW, "seq": 3, "phone_conf": 55}
    async with open_server(deployment) as server, server.stream("demo_session") as client:
        assert await client.ask(first) == {"type": "ack", "seq": 3}
        assert await client.ask(first) == {"type": "ack", "seq": 3}
    async with open_server(deployment) as server:
        async with server.stream("demo_session") as client:
            assert await client.ask(first) == {"type": "ack", "seq": 3}
            assert (await client.ask(other))["code"] == "seq_conflict"
        frames = await server.frames("demo_session")
        assert [frame["phone_conf"] for frame in frames] == [87]


async def test_a_client_that_comes_back_is_told_where_to_go_on(deployment):
    """The first message of each connection says what is stored without a gap, also after a restart."""
    async with open_server(deployment) as server:
        async with server.stream("demo_session") as client:
            assert set(client.resumed) == {"type", "session_id", "last_seq", "epoch"}
            assert client.resumed["session_id"] == "demo_session"
            assert client.resumed["last_seq"] is None
            for seq in (1, 2, 4):
                await client.ask({**RAW, "seq": seq})
        async with server.stream("demo_session") as again:
            assert again.resumed == client.resumed | {"last_seq": 2}
    async with open_server(deployment) as server, server.stream("demo_session") as later:
        assert later.resumed == again.resumed
        await later.ask({**RAW, "seq": 3})
        async with server.stream("demo_session") as last:
            assert last.resumed == again.resumed | {"last_seq": 4}


async def test_a_message_may_be_sent_again_by_the_fallback(server: Server):
    """With its number, it is the same message though one way reads it faster than the other."""
    message = {"seq": 1, "extracted_features": dict(reversed(FEATURES.items())) | {"head_yaw": None}}
    async with server.stream("demo_session") as client:
        assert await client.ask(message) == {"type": "ack", "seq": 1}
    body = message | {"session_id": "demo_session"}
    again = await server.http.post("/api/v1/session/ws/fallback", json=body)
    assert again.status_code == 202
    assert again.json()["duplicate"] is True


async def test_heartbeats_have_exactly_the_documented_keys(tmp_path: Path):
    async with (
        open_server(settings_for(tmp_path, heartbeat_interval_seconds=0.1)) as server,
        server.stream("demo_session") as client,
    ):
        beats = [await client.receive() for _ in range(3)]
        assert all(set(beat) == {"type", "session_id", "timestamp"} for beat in beats)
        assert {beat["session_id"] for beat in beats} == {"demo_session"}
        times = [ms_from_iso(beat["timestamp"]) for beat in beats]
        assert all(90 <= later - sooner < 1000 for sooner, later in itertools.pairwise(times))


async def test_every_client_hears_the_end_and_later_ones_too(server: Server):
    async with server.stream("demo_session") as silent, server.stream("demo_session") as talking:
        await talking.ask({**RAW, "seq": 1})
        assert (await server.post("demo_session", "end")).status_code == 204
        for client in (silent, talking):
            assert (await client.receive())["type"] == "session_ended"
    async with server.stream("demo_session") as late:
        assert (await late.receive())["type"] == "session_ended"
        with pytest.raises(ConnectionClosed) as closed:
            await late.receive()
        assert closed.value.reason.code == 1000


async def test_analyze_is_throttled_and_says_how_long_to_wait(tmp_path: Path):
    async with open_server(settings_for(tmp_path, analyze_interval_seconds=1)) as server:
        await server.start("demo_session")
        assert (await server.post("demo_session", "analyze")).status_code == 200
        refused = await server.post("demo_session", "analyze")
        assert refused.status_code == 429
        assert refused.headers["content-type"] == "application/problem+json"
        await trio.sleep(float(refused.headers["retry-after"]))
        assert (await server.post("demo_session", "analyze")).status_code == 200


async def test_analyze_without_frames_is_insufficient(server: Server):
    await server.start("demo_session")
    verdict = (await server.post("demo_session", "analyze")).json()["verdict"]
    assert verdict["review_priority"] == "insufficient"
    assert verdict["is_cheating"] is False


@pytest.mark.parametrize("action", ["analyze", "end"])
async def test_an_unknown_session_is_404(server: Server, action):
    answer = await server.post("nobody", action)
    assert answer.status_code == 404
    assert answer.json()["detail"]


async def test_a_livekit_token_joins_publishes_and_subscribes_for_four_hours(tmp_path: Path):
    secret = "a-secret-of-at-least-thirty-two-bytes"
    chosen = {"livekit_url": "wss://live.example", "livekit_api_key": "key", "livekit_api_secret": secret}
    query = {"exam_id": "exam123", "member_id": "user123", "name": "Candidate One"}
    async with open_server(settings_for(tmp_path, **chosen)) as server:
        answer = (await server.http.get("/api/v1/webrtc/livekit/token", params=query)).json()
        missing = await server.http.get("/api/v1/webrtc/livekit/token", params={"exam_id": "exam123"})
    assert answer["url"] == "wss://live.example"
    claims = jwt.decode(answer["token"], secret, algorithms=["HS256"], issuer="key")
    assert claims["sub"] == "user123"
    assert claims["name"] == "Candidate One"
    assert claims["exp"] - claims["nbf"] == 4 * 3600
    grants = claims["video"]
    assert grants["room"] == "exam123"
    assert grants["roomJoin"] is True
    assert grants["canPublish"] is True
    assert grants["canSubscribe"] is True
    assert missing.status_code == 400
    assert missing.json()["errors"][0]["field"] == "member_id"


async def test_livekit_without_credentials_is_503(server: Server):
    query = {"exam_id": "exam123", "member_id": "user123"}
    answer = await server.http.get("/api/v1/webrtc/livekit/token", params=query)
    assert answer.status_code == 503
    assert "LIVEKIT_API_KEY" in answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {"session_id": "demo_session", "extracted_features": FEATURES},
        RAW,
        {"session_id": "demo_session", **EVENT},
    ],
    ids=["wrapper", "raw", "event"],
)
async def test_the_fallback_stores_what_a_websocket_would(server: Server, body):
    answer = await server.http.post("/api/v1/session/ws/fallback", json={**body, "seq": 1})
    assert answer.status_code == 202
    assert answer.json() == {
        "status": "accepted",
        "session_id": "demo_session",
        "frames": 1,
        "duplicate": False,
        "seq": 1,
    }
    again = await server.http.post("/api/v1/session/ws/fallback", json={**body, "seq": 1})
    assert again.json()["duplicate"] is True
    assert len(await server.frames("demo_session")) == 1
    late = await server.http.post("/api/v1/session/ws/fallback", json=body)
    assert late.status_code == 409


async def test_who_tells_the_time_by_the_fallback_may_send_what_has_waited(server: Server):
    """Else the newest frame of the first request would be taken for one that was just made."""
    path, now_ms = "/api/v1/session/ws/fallback", time.time_ns() // 1_000_000
    for seq in (None, 1):
        said = {"session_id": "s", "type": "clock", "timestamp": now_ms, "seq": seq}
        answer = (await server.http.post(path, json={k: v for k, v in said.items() if v is not None})).json()
        assert (answer["frames"], answer.get("seq")) == (0, seq)
        assert abs(ms_from_iso(answer["server_timestamp"]) - now_ms) < 5000
    frame = {"session_id": "s", "timestamp": now_ms - 60_000, "extracted_features": {"face_present": 1}}
    assert "server_timestamp" not in (await server.http.post(path, json=frame)).json()
    [stored] = await server.frames("s")
    assert abs(ms_from_iso(stored["timestamp"]) - (now_ms - 60_000)) < 5000


async def test_the_fallback_says_when_the_store_is_down_and_the_message_may_come_again(
    tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
):
    """Whether the first try was stored in the end or not, the frame is stored once."""
    monkeypatch.setattr("proctor.web.stream._STORE_SECONDS", 0.3)
    async with open_server(settings_for(tmp_path, redis_url=redis_server.url)) as server:
        await server.start("demo_session")
        redis_server.pause()
        refused = await server.http.post("/api/v1/session/ws/fallback", json={**RAW, "seq": 1})
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        redis_server.resume()
        monkeypatch.undo()
        accepted = await server.http.post("/api/v1/session/ws/fallback", json={**RAW, "seq": 1})
        assert accepted.status_code == 202
        assert len(await server.frames("demo_session")) == 1


def many(seq: int, frames: int = 100) -> dict[str, Any]:
    return {"seq": seq, "type": "batch", "frames": [FEATURES] * frames}


async def test_a_client_that_is_too_fast_is_told_and_waits_but_not_at_the_end(tmp_path: Path):
    """Longer than a silent client may be silent, and it loses nothing."""
    limits = {"max_frames_per_second": 100, "liveness_timeout_seconds": 0.3}
    async with (
        open_server(settings_for(tmp_path, **limits)) as server,
        server.stream("demo_session") as client,
    ):
        began = trio.current_time()
        for seq in range(33):
            await client.send(many(seq))
        heard = [await client.receive() for _ in range(34)]
        assert trio.current_time() - began > 1.9  # 3000 at once, the next 200 must be paid for
        assert [message["seq"] for message in heard if message["type"] == "ack"] == list(range(33))
        (error,) = [message for message in heard if message["type"] != "ack"]
        assert (error["type"], error["code"]) == ("error", "too_fast")
        for seq in range(33, 43):
            await client.send(many(seq))
        began = trio.current_time()
        assert len(await server.frames("demo_session")) == 4300
        assert trio.current_time() - began < 5
        last = [await client.receive() for _ in range(11)]
        assert [message["seq"] for message in last[:10]] == list(range(33, 43))
        assert last[10]["type"] == "session_ended"


async def test_a_client_of_the_fallback_that_is_too_fast_is_told_when_to_come_back(tmp_path: Path):
    async with open_server(settings_for(tmp_path, max_frames_per_second=10)) as server:

        async def send(session_id: str, seq: int) -> httpx.Response:
            body = {**many(seq, 500), "session_id": session_id}
            return await server.http.post("/api/v1/session/ws/fallback", json=body)

        assert [(await send("demo_session", seq)).status_code for seq in (1, 2)] == [202, 202]
        refused = await send("demo_session", 3)
        assert refused.status_code == 429
        assert "MAX_FRAMES_PER_SECOND" in refused.json()["detail"]
        assert 45 <= int(refused.headers["retry-after"]) <= 50
        assert (await send("another", 1)).status_code == 202
        assert len(await server.frames("demo_session")) == 1000


async def test_sessions_are_listed_newest_first_filtered_and_paged(server: Server):
    for number in range(5):
        await server.start(f"s{number}", exam_id=f"exam{number % 2}", candidate_id=f"c{number}")
    await server.post("s0", "end")

    async def listed(**query: Any) -> httpx.Response:
        return await server.http.get("/api/v1/session", params=query)

    first = (await listed(limit=2)).json()
    assert [session["session_id"] for session in first["sessions"]] == ["s4", "s3"]
    assert first["total"] == 5
    second = (await listed(limit=2, before=first["next"])).json()
    assert [session["session_id"] for session in second["sessions"]] == ["s2", "s1"]
    for query, expected in (
        ({"status": "ended"}, ["s0"]),
        ({"exam_id": "exam1"}, ["s3", "s1"]),
        ({"candidate_id": "c2"}, ["s2"]),
    ):
        assert [s["session_id"] for s in (await listed(**query)).json()["sessions"]] == expected
    for query in ({"status": "lost"}, {"limit": 0}, {"before": "x"}, {"colour": "red"}):
        refused = await listed(**query)
        assert refused.status_code == 400
        assert refused.json()["errors"][0]["field"] == next(iter(query))


async def test_a_session_that_began_by_streaming_can_be_started_afterwards(anywhere: Server):
    """A page may be quicker than the backend; the candidate is known from then on, and stays who it is."""
    server = anywhere
    async with server.stream("early-bird") as client:
        await client.ask({"seq": 1, "extracted_features": FEATURES})
        begun = (await server.http.get("/api/v1/session/early-bird")).json()
        assert begun["candidate_id"] is None
        started = (await server.start("early-bird", exam_id="maths", metadata={"room": 4})).json()
        assert started["candidate_id"] == "someone"
        assert started["exam_id"] == "maths"
        assert started["metadata"] == {"room": 4}
        assert started["started_at"] == begun["started_at"]
        assert (await server.start("early-bird", candidate_id="somebody else")).status_code == 409
    assert len(await server.frames("early-bird")) == 1


async def test_what_is_granted_and_judged_again(anywhere: Server):
    """Accommodations at the start, later and taken back; then every version of the report, on any stores."""
    server, url = anywhere, "/api/v1/session/exam-1"
    pump = {"type": "exempt", "signal": "phone", "reason": "insulin pump"}
    started = await server.start("exam-1", accommodations=[pump])
    assert started.json()["accommodations"][0] | pump == started.json()["accommodations"][0]
    begins = 1767603600000
    async with server.stream("exam-1") as client:
        await client.ask({"type": "clock", "timestamp": begins + 20_000})
        frames = [{**FEATURES, "timestamp": begins + 500 * place} for place in range(40)]
        assert (await client.ask({"seq": 1, "type": "batch", "frames": frames}))["type"] == "ack"

        async def findings() -> set[str]:
            report = (await server.post("exam-1", "analyze")).json()
            return {finding["category"] for finding in report["findings"]}

        assert "phone" not in await findings()
        taken = await server.http.delete(f"{url}/accommodations/a1")
        assert taken.json()["accommodations"][0]["withdrawn"] is not None
        assert "phone" in await findings()
        body = {"accommodations": [{"type": "allow_people", "reason": "scribe"}]}
        granted = await server.http.post(f"{url}/accommodations", json=body)
        assert [each["id"] for each in granted.json()["accommodations"]] == ["a1", "a2"]
        await server.frames("exam-1")
    again = {"requested_by": "the board", "reason": "a certificate came in", "accommodations": [pump]}
    judged = await server.http.post(f"{url}/reanalyze", json=again)
    assert judged.status_code == 200
    assert judged.json()["version"]["version"] == 2
    assert ("gone", "phone") in {
        (change["kind"], change["category"]) for change in judged.json()["difference"]["findings"]
    }
    listed = (await server.http.get(f"{url}/analyses")).json()["versions"]
    assert [(each["version"], each["requested_by"]) for each in listed] == [(1, None), (2, "the board")]
    assert all(isinstance(each["score"], int) for each in [judged.json()["version"], *listed])
    second = await server.http.get(f"{url}/analyses/2")
    assert second.content == (await server.post("exam-1", "analyze")).content
    assert (await server.http.get(f"{url}/analyses/1")).content != second.content


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "field"),
    [
        ("POST", "accommodations", {"accommodations": []}, 400, "accommodations"),
        ("POST", "accommodations", {"accommodations": [{"type": "nap"}]}, 400, "accommodations.0.type"),
        ("POST", "accommodations", {}, 400, "accommodations"),
        ("DELETE", "accommodations/a9", None, 400, "accommodation_id"),
        ("POST", "reanalyze", {"requested_by": "me"}, 400, "reason"),
        ("POST", "reanalyze", {"requested_by": "me", "reason": "r"}, 409, None),
        ("GET", "analyses/0", None, 400, "version"),
        ("GET", "analyses/x", None, 400, "version"),
        ("GET", "analyses/1", None, 400, "version"),
        ("POST", "reanalyze", {"requested_by": "me", "reason": "r", "policy": ""}, 400, "policy"),
    ],
)
async def test_mistakes_about_them_are_told_with_their_field(
    server: Server, method, path, body, status, field
):
    await server.start("exam-1")
    answer = await server.http.request(method, f"/api/v1/session/exam-1/{path}", json=body)
    assert answer.status_code == status
    assert [error["field"] for error in answer.json().get("errors", [])] == ([field] if field else [])
