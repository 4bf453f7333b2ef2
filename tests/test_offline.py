"""Reports on dumps: the server's own for its dumps, and honest ones for everybody else's."""

import hashlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from rich.console import Console
from typer.testing import CliRunner

from proctor.analysis.discovery import discover
from proctor.analysis.policy import built_in_policy
from proctor.analysis.schema import Report, report_schema
from proctor.cli import app
from proctor.errors import InvalidRequest
from proctor.offline.recording import read_recording
from proctor.offline.text import print_text, written
from proctor.simulator import exam_taker
from proctor.simulator.client import wrapped
from proctor.simulator.people import episode
from proctor.simulator.replay import stored_frames
from proctor.storage.dumps import read_dump
from proctor.times import iso_from_ms
from tests.fakes import judged
from tests.fixtures.process import proctor
from tests.fixtures.server import Server, open_server, settings_for

T0 = 1_767_603_600_000
ANALYZERS = discover()
POLICY = built_in_policy(ANALYZERS)
PHONE = exam_taker("honest-calm", 1, 8, script=[episode("phone", 60, 75), episode("phone", 200, 212)])

Dump = Callable[..., Path]


@pytest.fixture
def dump(tmp_path: Path) -> Dump:
    """Writes frames, as bytes or as JSON values, to a dump."""

    def write(frames: list[Any], name: str = "s1_frames.json") -> Path:
        path = tmp_path / name
        ready = [frame if isinstance(frame, bytes) else json.dumps(frame).encode() for frame in frames]
        path.write_bytes(b"[" + b",\n".join(ready) + b"]")
        return path

    return write


@pytest.fixture
def recorded(dump: Dump) -> Path:
    return dump(list(stored_frames(PHONE, "s1", T0)))


def report_on(path: Path) -> dict[str, Any]:
    return json.loads(judged(read_recording(path, T0), ANALYZERS, POLICY, T0))


def foreign(seconds: float, **features: Any) -> dict[str, Any]:
    return {"face_present": 1, "timestamp": iso_from_ms(T0 + round(seconds * 1000)), **features}


def run(*arguments: object) -> tuple[int, bytes, str]:
    done = CliRunner().invoke(app, ["analyze", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout_bytes, done.stderr


class TestAgainstTheServer:
    @pytest.fixture
    async def server(self, tmp_path: Path):
        async with open_server(settings_for(tmp_path, max_frames_per_second=0)) as opened:
            yield opened

    async def test_a_dumps_report_is_the_sessions_final_one(self, server: Server):
        """Wherever it does not follow from what only the database knows of the session."""
        now_ms = time.time_ns() // 1_000_000
        start_ms = now_ms - round(PHONE.seconds * 1000)
        frames = [wrapped(frame) for frame in PHONE.frames(start_ms)]
        async with server.stream("exam") as client:
            await client.ask({"type": "clock", "timestamp": now_ms})
            for first in range(0, len(frames), 40):
                batch = {"type": "batch", "seq": first, "frames": frames[first : first + 40]}
                assert (await client.ask(batch))["type"] == "ack"
        assert (await server.post("exam", "end")).status_code == 204
        final = (await server.post("exam", "analyze")).json()

        path = server.settings.dump_directory / "exam_frames.json"
        policies = str(server.settings.policy_directory.resolve())
        done = await proctor(path.parent, "analyze", str(path), "--format", "json", POLICY_DIRECTORY=policies)
        assert done.returncode == 0, done.stderr
        offline = json.loads(done.stdout)
        assert len(final["findings"]) >= 2
        assert final["verdict"]["review_priority"] == "high"
        for part in set(final) - {"session_info", "data_quality"}:
            assert offline[part] == final[part], part
        for name in ("session_id", "policy", "first_frame_at", "last_frame_at", "total_frames", "final"):
            assert offline["session_info"][name] == final["session_info"][name]
        for name in ("observed_seconds", "gaps", "clock_offset", "features_never_seen", "sufficient"):
            assert offline["data_quality"][name] == final["data_quality"][name]

    def test_frames_that_a_server_stored_stay_as_they_are(self, dump):
        """Also where taking them in again would change them: 0.5 is what a share of 0.005 was stored as."""
        frames = list(stored_frames(PHONE, "s1", T0))
        frames[5] = frames[5].replace(b"{", b'{"phone_conf":0.5,', 1)
        path = dump(frames)
        assert read_recording(path, T0).frames == read_dump(path) == frames
        digest = b""
        for frame in frames:
            digest = hashlib.sha256(digest + frame).digest()
        assert report_on(path)["provenance"]["frames"]["digest"] == digest.hex()


class TestReproducing:
    def test_the_same_dump_gives_the_same_bytes_at_the_same_time(self, recorded):
        once, again = (judged(read_recording(recorded, T0), ANALYZERS, POLICY, T0) for _ in range(2))
        assert once == again

    def test_nothing_but_the_time_of_the_analysis_differs_between_processes(self, recorded):
        command = [sys.executable, "-m", "proctor", "analyze", "--format", "json", str(recorded)]
        reports = [
            subprocess.run(command, cwd=recorded.parent, capture_output=True, check=True).stdout
            for _ in range(2)
        ]
        times = [json.loads(report)["session_info"]["analysed_at"] for report in reports]
        assert times[0] < times[1]
        assert reports[0].replace(times[0].encode(), times[1].encode()) == reports[1]

    def test_the_report_keeps_to_its_schema(self, recorded):
        jsonschema.validate(report_on(recorded), report_schema())


class TestForeignDumps:
    def test_frames_are_taken_in_as_a_server_does(self, dump):
        """Ids, flags and confidences become what a store holds; shares of 1 become per cent."""
        path = dump(
            [foreign(0.5, phone_conf=0.87, phone_present=True, head_yaw="None", own={"key": 1}), foreign(0)],
            "elsewhere.json",
        )
        recording = read_recording(path, T0)
        assert recording.session.session_id == "elsewhere"
        assert (recording.session.started_ms, recording.session.ended_ms) == (T0, T0 + 500)
        late = json.loads(recording.frames[1])
        assert late == {
            "face_present": 1,
            "phone_conf": 87,
            "phone_present": 1,
            "own": {"key": 1},
            "timestamp": iso_from_ms(T0 + 500),
            "frame_id": f"{T0 + 500}-0",
        }
        assert recording.frames[1].endswith(b'-0"}')

    def test_ids_follow_the_time(self, dump):
        """Whatever they said: windows and order are those of the timestamps."""
        frames = [foreign(second, frame_id=f"{5 * second}-{second}") for second in range(40)]
        frames = [{"frame_id": frame.pop("frame_id"), **frame} for frame in frames]
        path = dump(frames)
        assert read_recording(path, T0).frames[7].endswith(f'"frame_id":"{T0 + 7000}-7"}}'.encode())
        report = report_on(path)
        assert report["provenance"]["frames"]["first"] == f"{T0}-0"
        assert report["window_analysis"]["total_windows"] == 4

    def test_milliseconds_are_as_good_as_iso_times(self, dump):
        numbers = [foreign(second) | {"timestamp": T0 + 1000 * second} for second in range(20)]
        texts = [foreign(second) for second in range(20)]
        path = dump(texts, "texts.json")
        assert read_recording(dump(numbers), T0).frames == read_recording(path, T0).frames

    @pytest.mark.parametrize(
        ("fault", "field"),
        [
            ({"no_of_face": "two"}, "no_of_face"),
            ({"phone_present": 7}, "phone_present"),
            ({"face_conf": [88]}, "face_conf"),
            ({"event": "TAB_SWITCHED"}, "event"),
            ({"client_timestamp": {"ms": 1}}, "client_timestamp"),
            ({"session_id": 5}, "session_id"),
            ({"session_id": "another"}, "session_id"),
            ({"timestamp": -5}, "timestamp"),
            ({"timestamp": 1e18}, "timestamp"),
            ({"timestamp": "yesterday"}, "yesterday"),
            ({"timestamp": None}, "timestamp"),
        ],
    )
    def test_a_mistake_is_told_with_element_and_field(self, dump, fault, field):
        frames = [foreign(second, session_id="s1") for second in range(3)]
        path = dump([*frames[:2], frames[2] | fault])
        with pytest.raises(InvalidRequest, match=rf"s1_frames\.json, element 2: .*{field}"):
            read_recording(path, T0)

    def test_a_mistake_is_told_also_in_a_dump_that_looks_like_proctors_own(self, dump):
        frames = [json.loads(frame) for frame in stored_frames(PHONE, "s1", T0)]
        frames[3]["no_of_face"] = "many"
        with pytest.raises(InvalidRequest, match="element 3: no_of_face must be"):
            read_recording(dump(frames), T0)

    def test_without_frames_there_is_too_little_to_judge(self, dump):
        report = report_on(dump([], "nobody_frames.json"))
        assert report["session_info"]["session_id"] == "nobody"
        assert report["verdict"]["review_priority"] == "insufficient"
        assert "insufficient".upper() in written(msgspec.convert(report, Report))


class TestCommand:
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

    def test_writes_where_and_as_it_is_told(self, recorded, tmp_path):
        """The ending of the file's name decides, unless a format is given; standard output is text."""
        assert run(recorded, "-o", "report.json") == (0, b"", "")
        assert json.loads((tmp_path / "report.json").read_bytes())["verdict"]["review_priority"] == "high"
        assert run(recorded, "-o", "report.json", "--format", "text")[0] == 0
        assert (tmp_path / "report.json").read_text().startswith("Session s1\n")
        assert b"Review priority HIGH" in run(recorded)[1]

    def test_judges_by_a_policy_of_a_name_or_in_a_file(self, recorded, tmp_path):
        (tmp_path / "config").mkdir()
        (tmp_path / "config" / "phones-allowed.toml").write_text("[rules.phone]\nenabled = false\n")
        (tmp_path / "mine.toml").write_text("[rules.phone]\nenabled = false\n")
        reports = {
            name: json.loads(run(recorded, "--policy", name, "--format", "json")[1])
            for name in ("default", "phones-allowed", "mine.toml")
        }
        priorities = [report["verdict"]["review_priority"] for report in reports.values()]
        assert priorities[0] == "high"
        assert priorities[1] == priorities[2] != "high"
        policies = [report["provenance"]["policy"] for report in reports.values()]
        assert [policy["name"] for policy in policies] == ["default", "phones-allowed", "mine"]
        assert policies[0]["digest"] != policies[1]["digest"] == policies[2]["digest"]

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["missing.json"], "cannot read missing.json"),
            (["s1_frames.json", "--policy", "strict"], "no policy 'strict' in config; there are default"),
            (["s1_frames.json", "--policy", "none.toml"], "none.toml"),
            (["s1_frames.json", "-o", "no/where.txt"], "cannot write no/where.txt"),
        ],
    )
    def test_mistakes_are_told_in_a_line(self, recorded, arguments, told):
        code, answer, errors = run(*arguments)
        assert (code, answer) == (2, b"")
        assert told in errors
        assert errors.count("\n") == 1

    @pytest.mark.parametrize(
        ("option", "data", "told"),
        [
            ("--compare", b"garbage", "cannot compare with given.json: not a report"),
            ("--compare", b'{"verdict": 1}', "cannot compare with given.json: not a report"),
            ("--compare", b"[" * 100_000 + b"]" * 100_000, "cannot compare with given.json: not a report"),
            ("--accommodations", b"{}", "given.json must hold a JSON array of accommodations, or an object"),
            ("--accommodations", b"{}", "the object has no such key"),
            ("--accommodations", b"7", "given.json must hold a JSON array"),
            ("--accommodations", b"[7]", "Expected `object`, got `int`"),
            ("--accommodations", b'{"accommodations": 7}', "Expected `array`, got `int`"),
            ("--accommodations", b"\xff", "given.json must hold a JSON array"),
            ("--accommodations", b"[" * 100_000 + b"]" * 100_000, "given.json must hold a JSON array"),
            ("--accommodations", b'[{"a":' + b"[" * 40 + b"]" * 40 + b"}]", "more than 32 levels deep"),
            ("--accommodations", b'[{"type": "nap"}]', "accommodations.0.type: must be one of"),
        ],
    )
    def test_a_mistake_in_a_file_is_told_with_its_name(self, recorded, monkeypatch, option, data, told):
        monkeypatch.chdir(recorded.parent)
        Path("given.json").write_bytes(data)
        code, answer, errors = run(recorded, option, "given.json")
        assert (code, answer) == (2, b"")
        assert told in errors
        assert errors.count("\n") == 1

    def test_a_report_is_compared_with_and_its_accommodations_are_taken(self, recorded, monkeypatch):
        monkeypatch.chdir(recorded.parent)
        granted = [{"type": "exempt", "signal": "phone", "reason": "insulin pump"}]
        Path("granted.json").write_text(json.dumps(granted))
        Path("plain.json").write_bytes(run(recorded, "--format", "json")[1])
        Path("pump.json").write_bytes(
            run(recorded, "--format", "json", "--accommodations", "granted.json")[1]
        )
        arguments = ["--format", "json", "--accommodations", "pump.json", "--compare"]
        assert json.loads(run(recorded, *arguments, "pump.json")[1])["same"]
        code, text, _ = run(recorded, *arguments[2:], "plain.json")
        assert code == 0
        assert b"granted: Exempt from being judged by phone, because: insulin pump" in text.replace(
            b"\n", b" "
        ).replace(b"  ", b" ")

    def test_no_server_is_loaded(self, recorded):
        """Reports on many dumps are many starts."""
        check = (
            "import sys; from proctor.cli import app; app(sys.argv[1:], standalone_mode=False); "
            "sys.exit(bool({'quart', 'hypercorn', 'sqlalchemy', 'redis', 'plotly', 'proctor.offline.text'}"
            " & set(sys.modules)))"
        )
        arguments = [sys.executable, "-c", check, "analyze", "--format", "json", str(recorded)]
        assert subprocess.run(arguments, capture_output=True, check=False).returncode == 0


class TestText:
    @pytest.fixture
    def report(self, recorded: Path) -> Report:
        return msgspec.convert(report_on(recorded), Report)

    @pytest.mark.parametrize("columns", [40, 80, 200])
    def test_fits_the_terminal_and_leaves_no_finding_out(self, report, columns):
        file = io.StringIO()
        print_text(report, Console(file=file, width=columns, highlight=False))
        lines = file.getvalue().splitlines()
        assert max(map(len, lines)) <= columns
        words = "".join(file.getvalue().split())
        for finding in report.findings:
            assert finding.message.split()[0] in words
        assert sum("concern  " in line for line in lines) >= len(
            [finding for finding in report.findings if finding.level == "concern"]
        )

    def test_says_all_that_a_reviewer_needs(self, report):
        text = " ".join(written(report).split())
        assert f"score {report.verdict.score} of 100" in text
        assert report.verdict.verdict_basis in text
        for sentence in report.recommendations:
            assert sentence in text
        for part in report.contributions:
            points = str(part.points) if part.counted else "(0)"
            assert f"{points} {part.title} {part.points_max:g}" in text
        assert report.provenance.frames.digest[:16] in text

    def test_is_plain_where_there_is_no_terminal(self, report):
        assert "\x1b" not in written(report)

    def test_nothing_that_clients_wrote_steers_the_terminal(self, dump):
        """Neither control characters nor markup of a session's name mean anything."""
        frames = [foreign(second, session_id="\x1b[2J[red]x") for second in range(3)]
        report = msgspec.convert(report_on(dump(frames)), Report)
        assert written(report).startswith("Session \N{REPLACEMENT CHARACTER}[2J[red]x\n")
