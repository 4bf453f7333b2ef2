"""What the log looks like, and what must never be in it."""

import json
import logging
import time

import pytest
import structlog

from proctor.logs import set_up_logging


@pytest.fixture(params=["text", "json"])
def log_format(request: pytest.FixtureRequest) -> str:
    return request.param


def fail_with_a_secret() -> None:
    password = "hunter2"  # noqa: F841
    raise LookupError("no such thing")


def test_an_event_is_one_line_of_json(capsys):
    set_up_logging("json", "info")
    structlog.get_logger().info("session ended", session="exam", frames=3)
    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert event.pop("timestamp").endswith("Z")
    assert event == {"event": "session ended", "level": "info", "session": "exam", "frames": 3}


def test_an_event_is_one_line_of_text(capsys):
    set_up_logging("text", "info")
    structlog.get_logger().info("session ended", session="exam", frames=3)
    (line,) = capsys.readouterr().err.splitlines()
    assert "session ended" in line
    assert "session=exam" in line
    assert "\x1b" not in line


def test_that_no_more_connections_can_be_accepted_is_said_once_in_a_while(log_format, capsys, monkeypatch):
    """Trio says so ten times a second, each time with a traceback."""
    now = time.monotonic() + 1000
    monkeypatch.setattr(time, "monotonic", lambda: now)
    set_up_logging(log_format, "info")
    said = []
    for _ in range(3):
        for _ in range(100):
            try:
                raise OSError("too many open files")
            except OSError:
                logging.getLogger("trio.serve_listeners").exception("accept returned EMFILE")
        said.append(len(capsys.readouterr().err.splitlines()))
        now += 40
    assert said == [1, 0, 1]


def test_what_a_client_sent_cannot_begin_a_line(log_format, capsys):
    """A path or a name with a line break would forge an event."""
    set_up_logging(log_format, "info")
    structlog.get_logger().warning("request failed", path="/a\n2026-01-05 [info] forged", name="x\r\ny")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_traceback_has_no_local_variables(log_format, capsys):
    """They hold candidates' data and secrets. That of the standard library's loggers has none either."""
    set_up_logging(log_format, "info")
    try:
        fail_with_a_secret()
    except LookupError:
        structlog.get_logger().exception("failed")
        logging.getLogger("library").exception("failed too")
    logged = capsys.readouterr().err
    assert logged.count("no such thing") >= 2
    assert logged.count("fail_with_a_secret") >= 2
    assert "hunter2" not in logged


def test_lesser_events_than_asked_for_are_left_out(log_format, capsys):
    set_up_logging(log_format, "warning")
    log = structlog.get_logger()
    log.debug("one")
    log.info("two")
    log.warning("three")
    log.error("four")
    logged = capsys.readouterr().err
    assert "two" not in logged
    assert "three" in logged
    assert "four" in logged


def test_libraries_warnings_go_the_same_way(log_format, capsys):
    set_up_logging(log_format, "info")
    logging.getLogger("library").info("quiet")
    logging.getLogger("library").warning("disk is %s", "full")
    (line,) = capsys.readouterr().err.splitlines()
    assert "disk is full" in line
    if log_format == "json":
        assert json.loads(line)["level"] == "warning"


def test_setting_up_again_replaces_what_was(capsys):
    """One line per event, also for a server that is started twice in one process."""
    set_up_logging("text", "info")
    set_up_logging("json", "info")
    logging.getLogger("library").warning("once")
    assert len(capsys.readouterr().err.splitlines()) == 1
