"""A session's signals: as they were stored, while it runs and from its dump."""

from typing import Any

from tests.fixtures.server import Server

PATH = "/api/v1/session/exam/signals"
T0 = 1_767_603_600_000


def frames() -> list[dict[str, Any]]:
    """One per second: a phone comes, half a minute of nothing, and the gaze is lost for a while."""
    told = [
        (0, {"phone_present": 0, "gazePoint_x": 10}),
        (1, {"phone_present": 1, "gazePoint_x": 20}),
        (2, {"phone_present": 0}),
        (32, {"phone_present": 0, "gazePoint_x": 40.5}),
    ]
    return [{"timestamp": T0 + 1000 * second, **features} for second, features in told]


def line(found: dict[str, Any], name: str) -> list[tuple[float, float | None]]:
    (one,) = [each for diagram in found["diagrams"] for each in diagram["lines"] if each["name"] == name]
    return list(zip(one["seconds"], one["values"], strict=True))


async def test_lines_go_through_what_was_stored_and_stop_where_nothing_is_known(server: Server):
    await server.start("exam")
    empty = (await server.http.get(PATH)).json()
    assert empty == {"first_frame_ms": None, "diagrams": [], "events": []}
    async with server.stream("exam") as client:
        switched = {"event": "TAB_SWITCHED", "ts": T0 + 1500}
        await client.ask({"seq": 1, "type": "batch", "frames": [*frames(), switched]})
    running = (await server.http.get(PATH)).json()
    phone, gaze = line(running, "phone_present"), line(running, "gazePoint_x")
    assert phone[:2] == [(0, 0), (1, 1)]
    assert phone[-1] == (32, 0)
    assert (2, None) in phone, "nothing is drawn over the half minute of which nothing is known"
    known = [(seconds, value) for seconds, value in gaze if value is not None]
    assert known == [(0, 10), (1, 20), (32, 40.5)]
    assert next(seconds for seconds, value in gaze if value is None) < 32
    assert running["events"] == [{"seconds": 1.5, "name": "TAB_SWITCHED"}]
    assert {each["title"] for each in running["diagrams"]} == {"Phone in view", "Gaze point, px"}
    await server.post("exam", "end")
    assert (await server.http.get(PATH)).json() == running
    for dump in server.settings.dump_directory.glob("exam_frames*"):
        dump.unlink()
    assert (await server.http.get(PATH)).status_code == 404
    assert (await server.http.get(PATH.replace("exam", "unknown"))).status_code == 404
