"""What the whole server takes in, and what that costs: over real WebSockets, into either frame store.

Run by hand: `python -m tests.bench.bench_ingest` (`--help` for options). The server is a process of its own
on its defaults but for `MAX_FRAMES_PER_SECOND`: acknowledgements, checks and live analysis are on. Load,
server, analysis worker and Redis share the machine, so compare only runs on the same one. Analysis runs
behind the load: its CPU counts what it did meanwhile, in bursts a part of the whole.

`--workers N` runs N server processes (`proctor serve --workers N`); their CPU and memory are added up.
"""

import sys

from tests.bench.command import run
from tests.bench.scenarios import SCENARIOS

if __name__ == "__main__":
    about = {name: scenario.__doc__ for name, scenario in SCENARIOS.items()}
    sys.exit(run("bench_ingest", __doc__, SCENARIOS, about, "Frames"))
