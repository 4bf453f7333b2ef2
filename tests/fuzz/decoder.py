"""Fuzzes the decoder of client messages with atheris (libFuzzer), guided by what code each input reaches.

    python -m tests.fuzz.decoder -max_total_time=600 [-max_len=65536] [FOLDER]

It goes on until the time is over or an input breaks one of the promises in `check`, and leaves that input in
a file `crash-…`; `python -m tests.fuzz.decoder crash-…` tries it again. FOLDER keeps what is of interest.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["proctor", "json"]):
    from proctor import express, strict_json
    from proctor.clock import ClientClock
    from proctor.features import VOCABULARY
    from proctor.ingest import frame_message
    from proctor.replies import Clock, Error, encode
    from proctor.wire import ClockReading, Frames, Rejected, decode

SESSION, BATCH_MAX = "exam", 5
KINDS = ("frame", "batch", "event", "clock")
_OTHER_NAMES = (
    "type seq session_id payload frame frames extracted_features frame_data event extractedFeatures "
    "timestamp ts frame_id received_at client_timestamp lv source anything"
)
NAMES = [*VOCABULARY, *_OTHER_NAMES.split()]
_TIME_MAX_SECONDS = 5.0
"""For one message, on a machine that does much else; it takes milliseconds."""


def check(data: bytes) -> None:
    """Hold the decoder to its promises for one message, which nothing else may come of than these."""
    began = time.monotonic()
    try:
        message = decode(data, SESSION, BATCH_MAX)
    except Rejected as rejected:
        refusal = encode(Error(rejected.code, rejected.detail, rejected.seq))
        assert len(refusal) < 10 * len(data) + 2_000, "a refusal says about as much as what is refused"
        assert express.read(data, SESSION, BATCH_MAX) is None, "both ways to read agree on what is refused"
        return
    finally:
        assert time.monotonic() - began < _TIME_MAX_SECONDS
    if isinstance(message, ClockReading):
        encode(Clock(message.timestamp, "2026-01-05T09:00:00.000Z"))
        return
    assert 0 < len(message.frames) <= BATCH_MAX
    stored = stored_form(message)
    usual = express.read(data, SESSION, BATCH_MAX)
    if usual is not None:
        assert stored_form(usual) == stored, "both ways to read make the same of it"


def stored_form(message: Frames) -> object:
    """Return what is stored of a message, which any JSON parser can read, with the same result."""
    whole = frame_message(SESSION, message, ClientClock(), 0)
    texts = [frame.head + b'1-1"}' for frame in whole.frames]
    frames = [strict_json.parse(text) for text in texts]
    assert frames == [json.loads(text) for text in texts]
    return frames


def fuzz(data: bytes) -> None:
    """Try an input as a message, and as what chooses one that is JSON and nearly right."""
    check(data)
    chooser = atheris.FuzzedDataProvider(data)
    text = json.dumps(_value(chooser, 4), ensure_ascii=chooser.ConsumeBool())
    check(text.encode(errors="surrogatepass"))


def _value(chooser: Any, depth: int) -> Any:
    match chooser.ConsumeIntInRange(0, 9 if depth else 6):
        case 0:
            return chooser.PickValueInList([None, True, False, 0, 1, SESSION, *KINDS])
        case 1:
            return chooser.ConsumeInt(chooser.ConsumeIntInRange(1, 40))
        case 2:
            return chooser.ConsumeFloat()
        case 3:
            return chooser.ConsumeUnicode(80)
        case 4:
            return chooser.ConsumeRegularFloat()
        case 5:
            return chooser.PickValueInList([1_767_603_600_000, "2026-01-05T09:00:00Z", "2026-01-05"])
        case 6:
            return {}
        case 7:
            return [_value(chooser, depth - 1) for _ in range(chooser.ConsumeIntInRange(0, BATCH_MAX + 1))]
        case _:
            names = [chooser.PickValueInList(NAMES) for _ in range(chooser.ConsumeIntInRange(0, 6))]
            return {name: _value(chooser, depth - 1) for name in names}


def seeds() -> list[bytes]:
    """Return messages to begin with: every documented shape, and what no parser should take."""
    from proctor.web.asyncapi import CLIENT_SHAPES

    odd = (b"[" * 40, b'{"extracted_features":{"face_x":NaN}}', b'{"seq":1,"seq":2,"ts":"2026-01-05"}')
    return [*(json.dumps(shape.example).encode() for shape in CLIENT_SHAPES), *odd]


def main(arguments: list[str]) -> None:
    """Fuzz as libFuzzer's `arguments` say. Does not return."""
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(seeds()):
            Path(folder, str(number)).write_bytes(seed)
        retried = any(Path(argument).is_file() for argument in arguments)
        atheris.Setup([sys.argv[0], *arguments, *([] if retried else [folder])], fuzz)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
