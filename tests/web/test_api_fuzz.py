"""Whatever is sent to the HTTP API, what comes is what its own OpenAPI document says, and no server error."""

import sys
from pathlib import Path

import pytest
import trio

from proctor.access.roles import STAFF
from tests.faults import SCALE
from tests.fixtures.process import proctor, serve

pytestmark = [pytest.mark.slow, pytest.mark.no_cover, pytest.mark.timeout(100 + 100 * SCALE)]

# Not every rule can be said in a schema, and `/session/start` is also an address that a session could have.
EXCLUDED = "positive_data_acceptance,allow_header_conformance"
# They judge what hypothesis generates, by chance and by this machine's speed, not what is answered to it.
GENERATOR_CHECKS = "filter_too_much,too_slow,data_too_large"
# Made-up hosts would be looked up, and those that there are would be told of the fuzz's sessions.
CALLS_OUT = "POST /api/v1/webhooks"
LIVEKIT = {
    "LIVEKIT_URL": "wss://livekit.example.org",
    "LIVEKIT_API_KEY": "devkey",
    "LIVEKIT_API_SECRET": "a secret of thirty-two characters",
}


async def test_the_api_is_as_it_says(tmp_path: Path):
    """Also to whoever has no key, where one is needed."""
    roles = [word for role in sorted(STAFF) for word in ("--role", role)]
    key = (await proctor(tmp_path, "keys", "create", "fuzz", *roles)).stdout.strip()
    async with serve(tmp_path, ANALYZE_INTERVAL_SECONDS="0", **LIVEKIT) as server:
        done = await trio.run_process(
            [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json",
             "--header", f"Authorization: Bearer {key}", "--exclude-checks", EXCLUDED,
             "--exclude-name", CALLS_OUT,
             "--phases", "examples,coverage,fuzzing", "--max-examples", str(10 * SCALE),
             "--suppress-health-check", GENERATOR_CHECKS, "--no-color"],
            capture_stdout=True,
            check=False,
        )  # fmt: skip
        said = done.stdout.decode()
        assert done.returncode == 0, said
        assert "ignored_auth" not in said
        assert (await server.http.get("/health")).json()["status"] == "ok"
    assert "Traceback" not in (tmp_path / "log").read_text()
