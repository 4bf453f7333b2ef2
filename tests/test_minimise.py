"""What a policy wants dropped is nowhere: not in the store, not in the dump, and no rule has seen it."""

from pathlib import Path
from typing import Any

import pytest

from proctor.analysis.discovery import discover
from proctor.analysis.policy import built_in_policy, load_policy
from proctor.errors import Misconfigured
from tests.fixtures.server import Server, open_server, settings_for

KEPT = {"face_present": 1, "no_of_face": 2}
# Long enough that no number of a rule's and no bytes of a database's are ever the same by chance.
DROPPED = {"gazePoint_x": 471_108_151_623, "phone_conf": 0.471108151623, "seat_number": "471108151623"}
FEATURES = KEPT | DROPPED
EVENT = {"event": "TAB_SWITCHED", "lv": 3, "ts": 1_767_600_000_000, "extractedFeatures": FEATURES}
POLICY = '[storage]\ndrop = ["gazePoint_x", "phone_conf", "seat_number", "__class__"]\n'

SHAPES: dict[str, dict[str, Any]] = {
    "wrapper": {"extracted_features": FEATURES},
    "usual wrapper": {
        "extracted_features": {**KEPT, "gazePoint_x": 471_108_151_623, "phone_conf": 47.1108151623}
    },
    "frame_data": {"frame_data": FEATURES},
    "typed": {"type": "frame", "payload": FEATURES},
    "raw": {"session_id": "exam", **FEATURES},
    "usual raw": {"session_id": "exam", **KEPT, "gazePoint_x": 471_108_151_623, "phone_conf": 47.1108151623},
    "batch": {"type": "batch", "frames": [FEATURES, KEPT]},
    "event": EVENT,
    "wrapped event": {"type": "event", "event": EVENT},
}


@pytest.fixture
async def server(tmp_path: Path):
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "frugal.toml").write_text(POLICY)
    async with open_server(settings_for(tmp_path, policy_directory=policies)) as opened:
        yield opened


async def send(server: Server, message: dict[str, Any], how: str) -> None:
    if how == "fallback":
        body = {**message, "session_id": "exam", "seq": 1}
        answer = await server.http.post("/api/v1/session/ws/fallback", json=body)
        assert answer.status_code == 202, answer.text
        return
    async with server.stream("exam") as client:
        assert await client.ask({**message, "seq": 1}) == {"type": "ack", "seq": 1}


@pytest.mark.parametrize("how", ["WebSocket", "fallback"])
@pytest.mark.parametrize("shape", SHAPES)
async def test_what_is_dropped_is_nowhere(server, tmp_path, shape, how):
    """In whatever shape it comes."""
    await server.start("exam", policy="frugal")
    await send(server, SHAPES[shape], how)
    await server.post("exam", "analyze")
    report = (await server.post("exam", "analyze")).text
    for frame in await server.frames("exam"):
        assert KEPT.items() <= frame.items()
        assert not DROPPED.keys() & frame.keys()
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"face_present" in written
    for trace in (b"471108151623", b"47.1108151623"):
        assert trace not in written
        assert trace.decode() not in report


async def test_other_policies_keep_it(server):
    await server.start("exam")
    await send(server, SHAPES["wrapper"], "WebSocket")
    [frame] = await server.frames("exam")
    assert {key: DROPPED[key] for key in ("gazePoint_x", "seat_number")}.items() <= frame.items()


def test_a_feature_that_is_misspelt_would_be_kept(tmp_path):
    """So the server does not start."""
    path = tmp_path / "own.toml"
    path.write_text('[storage]\ndrop = ["gazepoint_x"]\n')
    with pytest.raises(Misconfigured, match=r"own.toml: storage: .*did you mean gazePoint_x\?"):
        load_policy(path, discover())


def test_a_policy_that_drops_something_is_another_one(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(POLICY)
    analyzers = discover()
    own, same = load_policy(path, analyzers), built_in_policy(analyzers)
    assert own.digest != same.digest
    path.write_text("[storage]\ndrop = []\n")
    assert load_policy(path, analyzers).digest == same.digest
