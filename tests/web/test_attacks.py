"""Attack, expected answer, and what must still hold: one table, against one real server.

After each attack the server serves others, has logged lines of its own making alone and no failure, and what
the attack was to smuggle in is not there. `ELSEWHERE` names the tests of attacks that need exact times, many
examples or another server.
"""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trio

from proctor.access.keys import make_key
from proctor.access.roles import STAFF
from proctor.access.tokens import SigningKey, make_signing_key
from proctor.settings import Settings
from proctor.storage.credentials import Credentials
from proctor.storage.pool import open_pool
from proctor.web.headers import HEADERS
from tests.access.test_tokens import ATTACKS as FORGED_TOKENS
from tests.fixtures.process import environment
from tests.fixtures.server import settings_for
from tests.web.raw import client_frame, server_frames, upgrade

START, FALLBACK, WEBSOCKET = "/api/v1/session/start", "/api/v1/session/ws/fallback", "/api/v1/session/ws"
ALLOWED, EVIL = "https://exam.example", "https://evil.example"
FRAME_MAX_BYTES, BODY_MAX_BYTES = 8_192, 16_384
_LINE = re.compile(rb"\d{4}-\d\d-\d\dT\S+ \[(debug|info|warning) ")
_SECONDS = 20


class World:
    """The server, and what an attacker might have of it."""

    def __init__(self, port: int, log: Path, key: str, signing: SigningKey) -> None:
        self.port = port
        self.log = log
        self.key = key
        self.signing = signing
        self._numbers = count(1)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=_SECONDS)

    def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send bytes as they are and read to the end."""
        with self.connect() as stream:
            stream.sendall(request)
            head, _, body = read_to_end(stream).partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body

    def start(self) -> tuple[str, str]:
        """Start a session; returns its id and its candidate's token."""
        session_id = f"attacked-{next(self._numbers)}"
        body = json.dumps({"exam_session_id": session_id, "candidate_id": "someone"}).encode()
        status, _, answer = self.ask(post(START, body, self.key))
        assert status == 200, answer
        return session_id, json.loads(answer)["token"]

    def stream(
        self, session_id: str, token: str, sent: bytes, until: bytes = b'"ack"'
    ) -> list[tuple[int, bytes]]:
        """Send frames; returns what the server says, up to the reply `until` or its close."""
        with self.connect() as stream:
            stream.sendall(upgrade(f"{WEBSOCKET}/{session_id}?token={token}"))
            said = b""
            while b"\r\n\r\n" not in said:
                said += stream.recv(65_536)
            head, _, said = said.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101"), head
            with suppress(OSError):  # it may have closed already
                stream.sendall(sent)
            while until not in said and (more := received(stream)):
                said += more
            return list(server_frames(said))


def received(stream: socket.socket) -> bytes:
    try:
        return stream.recv(65_536)
    except ConnectionResetError:
        return b""


def read_to_end(stream: socket.socket) -> bytes:
    return b"".join(iter(partial(received, stream), b""))


def http(method: str, path: str, body: bytes = b"", key: str = "", **headers: str) -> bytes:
    lines = {"host": "test", "connection": "close", "content-length": str(len(body))}
    if key:
        lines["authorization"] = f"Bearer {key}"
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


def post(path: str, body: bytes, key: str = "", **headers: str) -> bytes:
    return http("POST", path, body, key, **{"content_type": "application/json", **headers})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("attacked")
    settings = settings_for(folder)
    text, key = make_key("all of the staff", STAFF, now_ms=0)
    signing = trio.run(_set_up, settings, key)
    chosen = {
        "DATABASE_URL": settings.database_url,
        "ALLOWED_ORIGINS": json.dumps([ALLOWED]),
        "MESSAGE_MAX_BYTES": str(FRAME_MAX_BYTES),
        "REQUEST_MAX_BYTES": str(BODY_MAX_BYTES),
        "INVALID_MESSAGES_MAX": "50",
        "ADDRESS_FAILURES_PER_MINUTE": "0",
        "LOG_LEVEL": "debug",
    }
    log = folder / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "proctor", "serve", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=folder,
            env=environment(**chosen),
        )
    with process:
        assert process.stdout is not None
        port = int(re.search(rb"http://[\d.]+:(\d+)", process.stdout.readline())[1])  # type: ignore[index]
        try:
            yield World(port, log, str(text), signing)
        finally:
            process.terminate()


async def _set_up(settings: Settings, key: Any) -> SigningKey:
    async with open_pool(settings) as pool:
        credentials = Credentials(pool)
        await credentials.add_key(key)
        signing = make_signing_key(0)
        await credentials.add_signing_key(signing)
    return signing


@dataclass(frozen=True)
class Attack:
    """One row: over HTTP or as messages of a WebSocket."""

    name: str
    answer: int | str
    """HTTP status, close code (1xxx), or the code of an `error` after which the connection goes on."""
    send: Callable[[World], list[bytes]] = field(repr=False)
    """Requests, each of which gets that status; or WebSocket frames."""
    says: str = ""
    """In the answer's body."""
    lacks: str = ""
    """Not in the answer, head and body."""


def rows(*attacks: Attack) -> Any:
    return pytest.mark.parametrize("attack", attacks, ids=lambda attack: attack.name)


def check_others(world: World, logged_before: int) -> None:
    """What must still hold whatever was sent."""
    assert world.ask(http("GET", "/health"))[0] == 200
    logged = world.log.read_bytes()[logged_before:]
    assert all(_LINE.match(line) for line in logged.splitlines()), logged
    assert b"failed" not in logged


def requests(*each: bytes | Callable[[World], bytes]) -> Callable[[World], list[bytes]]:
    return lambda world: [one if isinstance(one, bytes) else one(world) for one in each]


def with_key(method: str, path: str, body: bytes = b"", **headers: str) -> Callable[[World], bytes]:
    kind = {} if method == "GET" else {"content_type": "application/json"}
    return lambda world: http(method, path, body, world.key, **{**kind, **headers})


def message(text: bytes, opcode: int = 1, *, fin: bool = True) -> Callable[[World], list[bytes]]:
    return lambda world: [client_frame(text, opcode, fin=fin)]


def feature(value: str) -> Callable[[World], list[bytes]]:
    return message(f'{{"seq": 1, "extracted_features": {{"face_x": {value}}}}}'.encode())


BODY = b'{"session_id": "exam", "extracted_features": {}}'
STARTING = b'{"exam_session_id": "never", "candidate_id": "someone"}'
SCRIPT = "<script>alert(1)</script>"
FORGED_LINE = "2026-01-05T09:00:00Z [error    ] request failed"


def starting(**more: Any) -> Callable[[World], bytes]:
    return with_key("POST", START, json.dumps({**json.loads(STARTING), **more}).encode())


def with_bearer(credential: str) -> Callable[[World], list[bytes]]:
    return requests(
        http("GET", "/api/v1/session", key=credential),
        upgrade(f"{WEBSOCKET}/exam", f"Authorization: Bearer {credential}"),
    )


def forged(attack: str) -> Callable[[World], list[bytes]]:
    """A forged token wherever tokens are taken; what is no token by its looks is taken for a key."""

    def send(world: World) -> list[bytes]:
        token = FORGED_TOKENS[attack](world.signing)
        session = http("GET", "/api/v1/session/exam", key=token.encode().decode("latin-1"))
        fallback = post(FALLBACK, BODY, token.encode().decode("latin-1"))
        if not token.isascii() or len(token) > 4096:
            return [session, fallback]
        return [
            session,
            fallback,
            upgrade(f"{WEBSOCKET}/exam?token={token}"),
            upgrade(f"{WEBSOCKET}/exam", f"Sec-WebSocket-Protocol: proctor.v1, token.{token}"),
        ]

    return send


def another_session(*paths: str) -> Callable[[World], list[bytes]]:
    """With a candidate's token, what is of another candidate."""

    def send(world: World) -> list[bytes]:
        (mine, token), (other, _) = world.start(), world.start()
        assert mine != other
        reads = [
            http(method, path.replace("OTHER", other), key=token)
            for method, path in (each.split() for each in paths)
        ]
        body = BODY.replace(b"exam", other.encode())
        return [*reads, post(FALLBACK, body, token), upgrade(f"{WEBSOCKET}/{other}?token={token}")]

    return send


OVER_HTTP = [
    Attack(
        "a candidate's id that is a path",
        404,
        requests(
            with_key("GET", "/api/v1/candidate/..%2f..%2fetc%2fpasswd"),
            with_key("GET", "/api/v1/candidate/%2e%2e"),
            with_key("GET", "/docs.css/..%2f..%2fetc%2fpasswd"),
            with_key("GET", "/..%2f..%2fetc%2fpasswd"),
        ),
        lacks="root:",
    ),
    Attack(
        "a version that is a path", 404, requests(with_key("GET", "/api/v1/session/exam/analyses/..%2f1"))
    ),
    Attack(
        "a policy that is a path",
        400,
        requests(
            *(
                starting(policy=name)
                for name in ("../default", "/etc/passwd", "default.toml", "nobody's", "", "x" * 5_000)
            )
        ),
        "policy",
    ),
    Attack(
        "a rule that is no plugin",
        400,
        requests(
            *(
                starting(accommodations=[{"type": "exempt", "rule": name, "reason": "r"}])
                for name in ("os:system", "../phone", "proctor_rules.phone:Phone", SCRIPT)
            )
        ),
        "accommodations",
    ),
    Attack(
        "a setting that is no rule's",
        400,
        requests(
            starting(
                accommodations=[
                    {"type": "scale", "rule": "phone", "setting": "__class__", "factor": 2, "reason": "r"}
                ]
            ),
            starting(
                accommodations=[
                    {
                        "type": "scale",
                        "rule": "phone",
                        "setting": "concern_after_seconds",
                        "factor": 1e308,
                        "reason": "r",
                    }
                ]
            ),
        ),
        "accommodations",
    ),
    Attack(
        "another candidate's session",
        403,
        another_session("GET /api/v1/session/OTHER"),
        "this token is for another session",
    ),
    Attack(
        "what is for the staff",
        403,
        another_session(
            "GET /api/v1/session",
            "POST /api/v1/session/OTHER/end",
            "DELETE /api/v1/session/OTHER",
            "GET /api/v1/candidate/someone",
            "GET /metrics",
        ),
    ),
    Attack(
        "a page of another site",
        403,
        requests(
            with_key("POST", START, STARTING, origin=EVIL),
            with_key("POST", START, STARTING, origin="null"),
            with_key("DELETE", "/api/v1/session/exam", origin=EVIL),
            *(
                upgrade(f"{WEBSOCKET}/exam", f"Origin: {origin}")
                for origin in (EVIL, "null", ALLOWED + ".evil.example", "http://test.evil.example")
            ),
        ),
        "ALLOWED_ORIGINS",
        lacks="access-control-allow-origin",
    ),
    Attack(
        "reading from another site",
        200,
        requests(http("GET", "/health", origin=EVIL), http("OPTIONS", START, origin=EVIL)),
        lacks="access-control-allow",
    ),
    Attack(
        "no credential",
        401,
        requests(http("GET", "/api/v1/session"), upgrade(f"{WEBSOCKET}/exam"), post(FALLBACK, BODY)),
        "API key",
    ),
    Attack(
        "another scheme",
        401,
        requests(
            http("GET", "/api/v1/session", authorization="Basic YTpi"),
            upgrade(f"{WEBSOCKET}/exam", "Authorization: Negotiate x"),
        ),
        "Bearer",
    ),
    Attack("a key that is made up", 401, with_bearer("proctor_0123456789abcdef_" + "x" * 43), lacks="xxx"),
    Attack(
        "a key in the address",
        401,
        lambda world: [upgrade(f"{WEBSOCKET}/exam?token={world.key}")],
        lacks="proctor_",
    ),
    *(Attack(f"a token: {kind}", 401, forged(kind), lacks="Traceback") for kind in FORGED_TOKENS),
    *(
        Attack(f"a body: {kind}", 400, requests(with_key("POST", START, body)), "body")
        for kind, body in {
            "nested deeply": b"[" * 10_000,
            "too deep to be stored": b'{"metadata":' + b"[" * 40 + b"]" * 40 + b"}",
            "a huge number": b'{"metadata": 1e999}',
            "a number of many digits": b'{"metadata": ' + b"1" * 5_000 + b"}",
            "no UTF-8": b'{"candidate_id": "\xff"}',
            "half a surrogate": b'{"candidate_id": "\\ud800"}',
            "a byte order mark": b"\xef\xbb\xbf" + STARTING,
            "two documents": STARTING * 2,
            "compressed": b"\x1f\x8b\x08\x00" + bytes(100),
        }.items()
    ),
    Attack(
        "the same key twice",
        400,
        requests(with_key("POST", START, STARTING[:-1] + b', "candidate_id": ""}')),
        "candidate_id",
    ),
    Attack(
        "an oversize body",
        413,
        requests(with_key("POST", START, b" " * BODY_MAX_BYTES + STARTING)),
        "REQUEST_MAX_BYTES",
    ),
    Attack(
        "a form instead of JSON", 415, requests(with_key("POST", START, STARTING, content_type="text/plain"))
    ),
    Attack(
        "two lengths",
        400,
        requests(
            http("GET", "/health").replace(b"content-length: 0", b"content-length: 0\r\ncontent-length: 5")
        ),
    ),
    Attack("chunks of chunks", 501, requests(http("GET", "/health", transfer_encoding="chunked, chunked"))),
    Attack("headers over the limit", 431, requests(http("GET", "/health", x="y" * 20_000))),
    Attack(
        "a line break in a header",
        400,
        requests(
            http("GET", "/health", x="a\r\n b\x00"), http("GET", "/health", authorization="Bearer a\x0bb")
        ),
    ),
    Attack(
        "a line break in an address",
        404,
        requests(
            http("GET", "/nowhere%0d%0aSet-Cookie:%20a=b"),
            http("GET", f"/%0a{FORGED_LINE.replace(' ', '%20')}"),
        ),
        lacks="\nset-cookie",
    ),
    Attack(
        "another host",
        302,
        requests(http("GET", "/", host="evil.example", x_forwarded_host="evil.example")),
        lacks="evil",
    ),
    Attack(
        "a line break in a name",
        200,
        requests(
            starting(
                exam_session_id="named", candidate_id=f"a\n{FORGED_LINE}", metadata={"a\r\nb: c": FORGED_LINE}
            )
        ),
    ),
    Attack(
        "markup and formulas in names",
        200,
        requests(
            starting(
                exam_session_id="marked",
                candidate_id=SCRIPT,
                exam_id="=cmd|'/c calc'!A1",
                metadata={SCRIPT: SCRIPT},
            ),
            with_key("GET", "/api/v1/session/marked"),
        ),
        lacks="text/html",
    ),
    Attack("markup in an address", 404, requests(http("GET", f"/{SCRIPT}")), lacks="text/html"),
]


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
@rows(*OVER_HTTP)
def test_over_http(world: World, attack: Attack):
    """Each is answered as documented, tells nothing that it should not, and has browsers refuse the rest."""
    logged = len(world.log.read_bytes())
    for request in attack.send(world):
        status, headers, body = world.ask(request)
        assert status == attack.answer, (request[:300], body)
        assert attack.says in body.decode()
        if attack.lacks:
            assert attack.lacks not in f"{headers}{body.decode()}"
        if status == 401:
            assert headers["www-authenticate"] == "bearer"
        if headers.get("content-length") != "0":  # h11's own, of what never came to be a request
            assert all(headers[name.lower()] == value.lower() for name, value in HEADERS.items())
    check_others(world, logged)
    assert world.ask(http("GET", "/api/v1/session/never", key=world.key))[0] == 404
    assert SCRIPT.encode() not in world.log.read_bytes()


LONG = b'{"extracted_features": {"note": "' + b"x" * FRAME_MAX_BYTES + b'"}}'
AS_MESSAGES = [
    *(
        Attack(f"another session {where}", "wrong_session", message(text))
        for where, text in {
            "in raw features": b'{"session_id": "other", "face_present": 1}',
            "in a wrapper": b'{"session_id": "other", "extracted_features": {}}',
            "in wrapped features": b'{"extracted_features": {"session_id": "other"}}',
            "in a batch": b'{"type": "batch", "frames": [{}, {"session_id": "other"}]}',
            "in an event": b'{"event": "X", "session_id": "other"}',
            "of another type": b'{"session_id": ["attacked-1"], "extracted_features": {}}',
        }.items()
    ),
    Attack("nested deeply", "invalid_json", message(b"[" * 8_000)),
    Attack(
        "nested just too deeply",
        "invalid_json",
        message(b'{"extracted_features": {"a": ' + b"[" * 31 + b"]" * 31 + b"}}"),
    ),
    Attack("a huge exponent", "invalid_json", feature("1e999")),
    Attack("a number of many digits", "invalid_json", feature("1" * 5_000)),
    Attack("a number that no store takes", "invalid_feature", feature("1" * 400)),
    Attack("a text where a number belongs", "invalid_feature", feature('"' + "9" * 5_000 + '"')),
    Attack("half a surrogate", "invalid_json", feature('"\\ud800"')),
    Attack("binary that is no UTF-8", "invalid_json", message(b'{"a": "\xff"}', 2)),
    Attack("no message at all", "invalid_json", message(b"", 2)),
    Attack(
        "a seq beyond all numbers",
        "invalid_seq",
        message(b'{"seq": 9007199254740992, "extracted_features": {}}'),
    ),
    Attack(
        "a time beyond all times",
        "invalid_timestamp",
        message(b'{"timestamp": 1e300, "extracted_features": {}}'),
    ),
    Attack("a type of its own", "unknown_type", message(b'{"type": "__class__", "extracted_features": {}}')),
    Attack(
        "frames without end",
        "too_many_frames",
        message(b'{"type": "batch", "frames": [' + b"{}," * 500 + b"{}]}"),
    ),
    Attack("text that is no UTF-8", 1007, message(b'{"a": "\xff"}')),
    Attack("an oversize message", 1009, message(LONG)),
    Attack(
        "an oversize message in fragments",
        1009,
        lambda world: [client_frame(LONG[:5_000], fin=False), client_frame(LONG[5_000:], 0)],
    ),
    Attack(
        "fragments without end",
        1009,
        lambda world: [client_frame(b"[", fin=False), *[client_frame(b"[" * 1_000, 0, fin=False)] * 9],
    ),
    Attack("a size that is only claimed", 1009, lambda world: [client_frame(b"", 2, length=2**62)]),
    Attack("a compressed message", 1002, lambda world: [b"\xc1" + client_frame(b"\x00" * 50)[1:]]),
    Attack("an unmasked message", 1002, lambda world: [b"\x81\x02{}"]),
    Attack("nonsense without end", 1008, lambda world: [client_frame(b"nonsense")] * 60),
]
GOOD = client_frame(b'{"seq": 1, "extracted_features": {"face_present": 1}}')


@rows(*AS_MESSAGES)
def test_as_messages(world: World, attack: Attack):
    """Nothing of it is stored, and what a candidate sends afterwards is, if need be on another connection."""
    logged = len(world.log.read_bytes())
    session_id, token = world.start()
    said = world.stream(session_id, token, b"".join(attack.send(world)) + GOOD)
    (opcode, last), replies = said[-1], [json.loads(text) for opcode, text in said if opcode == 1]
    errors = {reply["code"] for reply in replies if reply["type"] == "error"}
    if isinstance(attack.answer, int):
        assert (opcode, int.from_bytes(last[:2], "big")) == (8, attack.answer), said
        assert not [reply for reply in replies if reply["type"] == "ack"]
        said = world.stream(session_id, token, GOOD)
        assert json.loads(said[0][1])["last_seq"] is None
    else:
        assert errors == {attack.answer}, said
    assert json.loads(said[-1][1]) == {"type": "ack", "seq": 1}
    check_others(world, logged)


def test_as_many_connections(world: World):
    """Handshakes that never end, clients that come and go or never read: others are served meanwhile."""
    logged = len(world.log.read_bytes())
    session_id, token = world.start()
    handshake = upgrade(f"{WEBSOCKET}/{session_id}?token={token}")
    half = [world.connect() for _ in range(50)]
    for stream in half:
        stream.sendall(handshake[: len(handshake) // 2])
    deaf = world.connect()
    deaf.sendall(handshake)
    with suppress(OSError):
        deaf.settimeout(0.2)
        deaf.sendall(client_frame(b'{"type": "clock", "timestamp": 1}') * 30_000)
    for _ in range(100):
        with world.connect() as stream:
            stream.sendall(handshake)
    assert json.loads(world.stream(*world.start(), GOOD)[-1][1]) == {"type": "ack", "seq": 1}
    check_others(world, logged)
    for stream in (*half, deaf):
        stream.close()
    deadline = time.monotonic() + _SECONDS
    while json.loads(world.ask(http("GET", "/health"))[2])["connections"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


ELSEWHERE = {
    "session ids that are paths, hidden, too long, no ASCII": (
        "tests/web/test_hostile.py",
        "test_no_place_takes_what_is_no_session_id",
    ),
    "pages of other sites": (
        "tests/web/test_hostile.py",
        "test_only_some_pages_may_stream_or_change_something",
    ),
    "a token of an erased session": (
        "tests/web/test_access.py",
        "test_a_token_is_not_for_the_next_session_of_the_same_id",
    ),
    "a role for everything": ("tests/web/test_access.py", "test_every_endpoint_is_for_its_roles_alone"),
    "floods of frames, requests, sockets and guesses": (
        "tests/web/test_floods.py",
        "test_floods_cost_those_who_make_them",
    ),
    "guesses at a key": (
        "tests/access/test_limits.py",
        "test_a_key_that_is_guessed_at_is_looked_at_only_so_often",
    ),
    "an address that is made up": (
        "tests/web/test_proxies.py",
        "test_it_is_the_last_that_no_trusted_proxy_has",
    ),
    "memory": ("tests/faults/test_memory.py", "test_attacks_cost_little_memory_and_nobody_elses_service"),
    "broken WebSocket frames": (
        "tests/web/test_conformance.py",
        "test_what_breaks_the_protocol_ends_the_connection",
    ),
    "clients that never read": (
        "tests/web/test_server.py",
        "test_a_peer_that_never_reads_is_cut_off_and_blocks_no_shutdown",
    ),
    "compression": ("tests/web/test_server.py", "test_compression_is_not_negotiated"),
    "markup in a report": ("tests/test_offline_page.py", ""),
    "control characters in the audit trail": ("tests/test_audit_command.py", ""),
    "any JSON": ("tests/test_wire.py", "test_whatever_json_comes_it_is_refused_or_can_be_stored"),
    "any bytes": ("tests/fuzz/decoder.py", ""),
}
"""Attacks that other tests make, because they need another server, exact times or many examples."""


@pytest.mark.parametrize("attack", ELSEWHERE)
def test_made_elsewhere(attack: str):
    path, test = ELSEWHERE[attack]
    source = (Path(__file__).parents[2] / path).read_text()
    assert not test or f"def {test}(" in source
