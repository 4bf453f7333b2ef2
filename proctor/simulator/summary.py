"""What a simulation prints when it is over, for people and for machines."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from proctor.simulator.exam import Outcome
from proctor.simulator.tally import Tally, percentile

_COLUMNS = ("session", "kind", "truth", "sent", "acked", "priority", "score")
_RIGHT = ("sent", "acked", "score")


def as_dict(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return everything as JSON values: `sessions`, and `totals` over them. Latencies are milliseconds."""
    sessions = [_session(outcome) for outcome in outcomes]
    counts = ("sent", "acknowledged", "missing", "resent_messages", "reconnects")
    totals: dict[str, Any] = {name: sum(session[name] for session in sessions) for name in counts}
    totals["failed_sessions"] = sum(not outcome.ok for outcome in outcomes)
    totals["ack_ms"] = _latency([outcome.tally for outcome in outcomes])
    return {"sessions": sessions, "totals": totals}


def print_table(outcomes: Sequence[Outcome], console: Console) -> None:
    """Print a line for each session, the totals, and what went wrong."""
    table = Table()
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name in _RIGHT else "left", overflow="fold")
    for outcome in outcomes:
        session = _session(outcome)
        table.add_row(
            session["session_id"],
            session["kind"],
            _truth(outcome),
            str(session["sent"]),
            str(session["acknowledged"]),
            session["priority"] or "-",
            "-" if session["score"] is None else f"{session['score']:.0f}",
        )
    console.print(table)
    totals = as_dict(outcomes)["totals"]
    latency = totals["ack_ms"]
    console.print(
        f"{totals['sent']} frames sent, {totals['acknowledged']} acknowledged, "
        f"{totals['missing']} of them missing; "
        f"{totals['reconnects']} reconnects, {totals['resent_messages']} messages sent again; "
        f"acknowledged after {_ms(latency['p50'])} (median), {_ms(latency['p99'])} (99 %)",
        highlight=False,
    )
    for outcome in outcomes:
        errors = ", ".join(f"{code} ({count})" for code, count in outcome.tally.errors.items())
        trouble = "; ".join(filter(None, (outcome.tally.failure, errors)))
        if trouble:
            console.print(
                f"{outcome.candidate.session_id}: {trouble}", style="red", highlight=False, markup=False
            )


def _session(outcome: Outcome) -> dict[str, Any]:
    tally, candidate = outcome.tally, outcome.candidate
    return {
        "session_id": candidate.session_id,
        "candidate_id": candidate.candidate_id,
        "kind": candidate.exam.kind,
        "truth": [truth._asdict() for truth in candidate.exam.truth],
        "sent": tally.frames_sent,
        "acknowledged": tally.frames_acknowledged,
        "stored": outcome.stored,
        "missing": outcome.missing,
        "resent_messages": tally.messages_resent,
        "reconnects": tally.reconnects,
        "errors": dict(tally.errors),
        "ack_ms": _latency([tally]),
        "priority": outcome.verdict("review_priority"),
        "score": outcome.verdict("score"),
        "failure": tally.failure,
    }


def _latency(tallies: Sequence[Tally]) -> dict[str, float | None]:
    seconds = [latency for tally in tallies for latency in tally.latencies]
    shares = {"p50": percentile(seconds, 0.5), "p99": percentile(seconds, 0.99)}
    return {name: None if value is None else round(value * 1000, 3) for name, value in shares.items()}


def _truth(outcome: Outcome) -> str:
    truth = outcome.candidate.exam.truth
    categories = dict.fromkeys(item.category for item in truth)
    return ", ".join(
        f"{category} ({sum(item.category == category for item in truth)})" for category in categories
    )


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
