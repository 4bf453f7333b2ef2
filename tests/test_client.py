"""The browser client in a real browser: whatever happens in between, each frame is stored once."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import redis
import trio

from proctor.access.roles import Role
from tests.fixtures.browser import Page, open_page
from tests.fixtures.process import serve
from tests.fixtures.proxy import open_proxy
from tests.fixtures.server import Server, open_server, settings_for, settings_under_load
from tests.web.test_access import key_for

# A page of an institution: what it sends has rising marks, over reloads too.
START = """
async (options) => {
  const { connect } = await import("/proctor-client.js");
  window.told = { states: [], problems: [], losses: [], ends: [], alerts: [] };
  window.mark = Number(sessionStorage.mark ?? 0);
  window.play = (frames) => {
    for (let frame = 0; frame < frames; frame += 1) {
      sessionStorage.mark = window.mark += 1;
      if (mark % 10) client.send({ face_present: 1, no_of_face: 1, mark, note: "ß".repeat(20) });
      else client.sendEvent({ event: "MOUSE_LEFT_WINDOW", lv: 4, ts: Date.now(), mark });
    }
  };
  const { renewed, ...rest } = options;
  window.client = connect({
    onState: ({ state, retryMs }) => told.states.push(retryMs ?? state),
    onProblem: ({ code }) => told.problems.push(code),
    onLoss: (loss) => told.losses.push(loss),
    onEnd: (unsent) => told.ends.push(unsent),
    onAlert: (alert) => told.alerts.push(alert),
    ...(renewed === undefined ? {} : { renewToken: async () => renewed }),
    ...rest,
  });
}
"""
SCRIPTED = """
() => {
  window.sockets = [];
  window.WebSocket = class {
    sent = [];
    constructor(address, protocols) {
      Object.assign(this, { address, protocols });
      sockets.push(this);
      setTimeout(() => this.onopen?.());
    }
    send(text) { this.sent.push(JSON.parse(text)); }
    hear(message) { this.onmessage({ data: JSON.stringify(message) }); }
    close() {}
  };
  window.next = async () => {
    const count = sockets.length;
    while (sockets.length === count) await new Promise((resolve) => setTimeout(resolve, 10));
    return sockets.at(-1);
  };
}
"""
# What becomes of a connection on which nothing comes any more, and of what is known of heartbeats.
SILENCE = """
async () => {
  const { Patience, Socket } = await import("/proctor-links.js");
  const patience = new Patience();
  const known = [patience.silenceMs];
  let now = 0;
  const { performance } = window;
  Object.defineProperty(window, "performance", { value: { now: () => now } });
  const socket = new Socket({ WebSocket, address: "ws://here", patience, hear() {} });
  sockets[0].hear({ type: "resume" });
  now = 36_000;
  const end = await socket.over;
  known.push(patience.silenceMs);
  patience.connected();
  patience.heartbeat();
  now += 20_000;
  patience.heartbeat();
  known.push(patience.silenceMs);
  return [end, known];
}
"""
# A network that answers everything itself until one has signed in to it.
SIGN_IN_FIRST = """
() => {
  window.realFetch = window.fetch;
  window.fetch = async () => new Response("<title>Welcome to our network</title>");
}
"""
NO_SOCKETS = """
() => {
  window.WebSocket = class {
    constructor() { setTimeout(() => this.onclose?.({ code: 1006, reason: "" })); }
    close() {}
  };
}
"""
WAIT_SECONDS = 20


class Taker:
    """The client on a page."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def start(self, url: str, session_id: str = "exam", **options: Any) -> None:
        await self.page.call("evaluate", START, {"url": url, "sessionId": session_id, **options})

    async def play(self, frames: int) -> None:
        await self.page.call("evaluate", "(frames) => play(frames)", frames)

    async def status(self) -> dict[str, Any]:
        return await self.page.call("evaluate", "() => client.status")

    async def told(self, kind: str) -> list[Any]:
        return await self.page.call("evaluate", "(kind) => told[kind]", kind)

    async def end(self) -> dict[str, Any]:
        return await self.page.call("evaluate", "() => client.end()")

    async def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for a status."""
        with trio.move_on_after(WAIT_SECONDS):
            while not holds(status := await self.status()):
                await self.page.call("wait_for_timeout", 20)
            return status
        raise AssertionError(f"{await self.status()}, {await self.page.call('evaluate', '() => told')}")


@asynccontextmanager
async def open_taker(server: Server) -> AsyncIterator[Taker]:
    async with open_page(lawless=True) as page:
        await page.call("goto", f"{server.url}/docs.css")
        yield Taker(page)


def marks(frames: list[dict[str, Any]]) -> Counter[int]:
    """How often each mark is stored."""
    return Counter(frame.get("event", frame)["mark"] for frame in frames)


def once(first: int, last: int) -> Counter[int]:
    return Counter(range(first, last + 1))


async def test_cuts_reloads_and_a_killed_server_lose_and_double_nothing(tmp_path: Path):
    """A reload finds what was sent and not acknowledged, and what was not sent at all."""
    port = 0
    async with open_proxy(lambda: port) as proxy, open_page() as page:
        url = f"http://127.0.0.1:{proxy.port}"
        taker = Taker(page)
        async with serve(tmp_path, DUMP_DIRECTORY=str(tmp_path / "analysis_dumps")) as server:
            port = server.port
            await page.call("goto", f"{url}/try")
            await taker.start(url)
            await taker.play(35)
            await taker.until(lambda status: status["acknowledged"] == 35)
            for _ in range(3):
                await taker.play(35)
                proxy.cut()
                await taker.play(35)
                await taker.until(lambda status: status["unsent"] == 0)
            assert (await taker.status())["reconnects"] == 3
            await page.call("evaluate", "() => { play(30); return new Promise(requestAnimationFrame); }")
            await page.call("reload")
            await taker.start(url)
            await taker.until(lambda status: status["acknowledged"] == 275)
            await taker.play(20)
            await server.kill()
            await taker.until(lambda status: status["state"] == "waiting")
            await taker.play(700)
            assert (await taker.status())["unsent"] >= 700
        async with serve(tmp_path) as server:
            port = server.port
            await page.call("reload")
            await taker.start(url)
            await taker.until(lambda status: status["acknowledged"] == 995)
            await taker.play(5)
            assert await taker.end() == {"unsent": 0}
            assert marks(await server.frames("exam")) == once(1, 1000)
            assert await page.call("evaluate", "() => Object.keys(sessionStorage)") == ["mark"]
        assert await taker.told("losses") == []
        assert await page.call("errors") == []


async def test_without_websockets_it_goes_by_requests(server: Server):
    """And takes nobody else's answers for the server's."""
    async with open_taker(server) as taker:
        await taker.page.call("evaluate", NO_SOCKETS)
        await taker.page.call("evaluate", SIGN_IN_FIRST)
        await taker.start(server.url)
        await taker.play(25)
        await taker.until(lambda status: status["state"] == "waiting")
        assert (await taker.status())["unsent"] == 25
        await taker.page.call("evaluate", "() => { window.fetch = realFetch; }")
        await taker.until(lambda status: status["state"] == "fallback")
        await taker.until(lambda status: status["clockOffsetMs"] is not None)
        await taker.play(30)
        assert await taker.end() == {"unsent": 0}
        assert marks(await server.frames("exam")) == once(1, 55)


async def test_a_full_buffer_thins_frames_keeps_events_and_says_so(server: Server):
    """Offline too long: frames are left from all of the time, the most from its end, and every event."""
    door = 1
    async with open_proxy(lambda: door) as proxy, open_taker(server) as taker:
        await taker.start(f"http://127.0.0.1:{proxy.port}", bufferBytes=20_000)
        await taker.play(1000)
        status = await taker.status()
        losses = await taker.told("losses")
        assert {loss["reason"] for loss in losses} == {"full"}
        lost = sum(loss["frames"] for loss in losses)
        assert status["lost"] == {"frames": lost, "events": 0}
        assert status["unsent"] == 1000 - lost
        door = server.port
        assert await taker.end() == {"unsent": 0}
    stored = marks(await server.frames("exam"))
    assert set(stored.values()) == {1}
    assert stored.total() == 1000 - lost
    assert stored.keys() >= {*range(10, 1001, 10), 999}
    older, newer = (len(stored.keys() & set(range(first, first + 500))) for first in (1, 501))
    assert 60 < older < newer


async def test_what_a_smaller_server_refuses_is_cut_down_and_only_the_bad_is_lost(tmp_path: Path):
    """Closes with 1009, then refuses batches; of a refused batch only the frame at fault is given up."""
    settings = settings_under_load(tmp_path, message_max_bytes=5000, batch_max_frames=7)
    async with open_server(settings) as server, open_taker(server) as taker:
        await taker.start(server.url)
        await taker.page.call(
            "evaluate", "() => { play(60); client.send({ face_present: 'perhaps' }); play(60); }"
        )
        await taker.until(lambda status: status["unsent"] == 0)
        await taker.play(1)
        assert await taker.end() == {"unsent": 0}
        assert await taker.told("losses") == [{"reason": "invalid_feature", "frames": 1, "events": 0}]
        assert {"too_big", "too_many_frames", "invalid_feature"} <= set(await taker.told("problems"))
        assert marks(await server.frames("exam")) == once(1, 121)


async def test_an_emptied_store_gets_again_what_the_page_remembers(tmp_path: Path, redis_url: str):
    """A connected client is told at the next message, one that comes back at once."""
    async with open_server(settings_for(tmp_path, redis_url=redis_url)) as server:
        async with open_proxy(lambda: server.port) as proxy, open_taker(server) as taker:
            await taker.start(f"http://127.0.0.1:{proxy.port}")
            for first in (1, 41):
                await taker.play(40)
                await taker.until(lambda status: status["unsent"] == 0)
                with redis.Redis.from_url(redis_url) as client:
                    await trio.to_thread.run_sync(client.flushdb)
                if first == 41:
                    proxy.cut()
            await taker.play(5)
            await taker.until(lambda status: status["acknowledged"] == 85)
            assert await taker.end() == {"unsent": 0}
            assert await taker.told("losses") == []
        assert marks(await server.frames("exam")) == once(1, 85)


async def test_two_devices_and_a_duplicated_tab_do_not_corrupt_each_other(server: Server):
    """Both number from 1 at first; the copy has the one's sessionStorage, with what that has not sent."""
    door = server.port
    async with open_proxy(lambda: door) as proxy, open_taker(server) as one, open_taker(server) as other:
        url = f"http://127.0.0.1:{proxy.port}"
        for taker, first in ((one, 0), (other, 1000)):
            await taker.page.call("evaluate", "(first) => { sessionStorage.mark = first; }", first)
            await taker.start(url)
            await taker.until(lambda status: status["state"] == "open")
        for taker in (one, other):
            await taker.play(20)
            await taker.until(lambda status: status["unsent"] == 0)
        assert "seq_conflict" in await one.told("problems") + await other.told("problems")
        door = 1
        proxy.cut()
        for taker in (one, other):
            await taker.play(20)
        copied = """(url) => new Promise((resolve) => {
          dispatchEvent(new Event("pagehide"));
          const tab = open("/docs.css");
          tab.onload = () => {
            const script = tab.document.createElement("script");
            script.textContent = `import("/proctor-client.js").then(({ connect }) => {
              window.client = connect({ url: "${url}", sessionId: "exam" });
              window.client.send({ face_present: 1, mark: 2000 });
            })`;
            tab.document.documentElement.append(script);
            window.tab = tab;
            resolve();
          };
        })"""
        await one.page.call("evaluate", copied, url)
        door = server.port
        for taker in (one, other):
            await taker.until(lambda status: status["unsent"] == 0)
            await taker.play(10)
            assert await taker.end() == {"unsent": 0}
        await one.page.call("evaluate", "() => tab.client.end()")
    assert marks(await server.frames("exam")) == once(1, 50) + once(1001, 1050) + once(2000, 2000)


async def test_tokens_are_renewed_or_asked_for_and_the_end_is_told(tmp_path: Path):
    settings = settings_for(tmp_path, authentication="required")
    key = await key_for(settings, Role.INTEGRATION)
    async with open_server(settings) as server, open_taker(server) as taker:
        server.http.headers["Authorization"] = f"Bearer {key}"
        token = (await server.start("exam")).json()["token"]
        await taker.start(server.url, token="of.no.use", renewed=token)
        await taker.play(5)
        await taker.until(lambda status: status["unsent"] == 0)
        assert await taker.told("problems") == ["unauthenticated"]
        await taker.page.call("evaluate", "() => client.close()")
        await taker.start(server.url)
        await taker.until(lambda status: status["state"] == "refused")
        await taker.play(5)
        await taker.page.call("evaluate", "(token) => client.useToken(token)", token)
        await taker.until(lambda status: status["unsent"] == 0)
        assert (await server.post("exam", "end")).status_code == 204
        await taker.until(lambda status: status["state"] == "ended")
        assert await taker.told("ends") == [{"frames": 0, "events": 0}]
        assert await taker.page.call("evaluate", "() => client.send({ face_present: 1 })") is False
        assert marks(await server.frames("exam")) == once(1, 10)


async def test_what_servers_say_is_heeded(server: Server):
    """A server of the test's own says what real ones say seldom, and another says nothing for too long."""
    async with open_taker(server) as taker:
        await taker.page.call("evaluate", SCRIPTED)
        await taker.start("http://proctor.example/behind", token="a.b.c")
        said = await taker.page.call(
            "evaluate",
            """async () => {
              const rest = () => new Promise((resolve) => setTimeout(resolve, 0));
              await rest();
              const [first] = sockets;
              await rest();
              first.hear({ type: "resume", last_seq: null, epoch: "one" });
              for (let message = 0; message < 3; message += 1) { play(2); await rest(); }
              first.hear({ type: "ack", seq: 1 });
              first.hear({ type: "ack", seq: 2 });
              first.hear({ type: "error", code: "too_fast", detail: "slower" });
              first.hear({ type: "alert", rule: "no_face", message: "we cannot see your face" });
              first.hear({ type: "of a later server" });
              const before = client.status;
              first.onclose({ code: 1012, reason: "restarting; retry_after_ms=7" });
              const second = await next();
              await rest();
              second.hear({ type: "resume", last_seq: 1, epoch: "one" });
              second.hear({ type: "ack", seq: 2 });
              const { unsent } = await client.end({ seconds: 0.01 });
              const { connect } = await import("/proctor-client.js");
              const heirs = connect({ url: first.address, sessionId: "exam" });
              const third = sockets.at(-1) === second ? await next() : sockets.at(-1);
              await rest();
              third.hear({ type: "resume", last_seq: 2, epoch: "one" });
              third.hear({ type: "ack", seq: 3 });
              heirs.send({ face_present: 1 });
              await rest();
              third.onclose({ code: 1008, reason: "" });
              return { address: first.address, protocols: first.protocols, before, unsent,
                       first: first.sent, second: second.sent, third: third.sent, after: heirs.status };
            }""",
        )
        told = await taker.page.call("evaluate", "() => told")
        await taker.page.call("reload")
        await taker.page.call("evaluate", SCRIPTED)
        assert await taker.page.call("evaluate", SILENCE) == [
            {"greeted": True, "code": 1006, "reason": "silence"},
            [35_000, 70_000, 70_000],
        ]
    assert said["address"] == "ws://proctor.example/behind/api/v1/session/ws/exam"
    assert said["protocols"] == ["proctor.v1", "token.a.b.c"]
    clock, *messages = said["first"]
    assert (clock["type"], [message["seq"] for message in messages]) == ("clock", [1, 2, 3])
    assert said["before"] | {"roundTripMs": None, "clockOffsetMs": None} == {
        "state": "open",
        "acknowledged": 4,
        "unsent": 2,
        "flying": 1,
        "lost": {"frames": 0, "events": 0},
        "reconnects": 0,
        "roundTripMs": None,
        "clockOffsetMs": None,
    }
    # The store has lost number 2, which it had acknowledged: a replica that was behind has taken its place.
    assert said["second"][1:] == messages[1:]
    assert said["unsent"] == 2
    assert said["third"][1] == messages[2]
    assert said["third"][2]["seq"] == 4
    assert said["after"]["unsent"] == 1
    assert told["problems"] == ["too_fast"]
    assert told["alerts"] == [{"type": "alert", "rule": "no_face", "message": "we cannot see your face"}]
    assert told["states"] == ["open", 7, "open", "closed"]
