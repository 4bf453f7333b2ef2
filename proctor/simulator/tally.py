"""What one simulated exam taker sent and what became of it."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Counts of one session's stream; changed as it runs, so a display can show it."""

    frames_sent: int = 0
    """Each frame once, however often it had to be sent again."""
    frames_acknowledged: int = 0
    messages_sent: int = 0
    messages_resent: int = 0
    messages_acknowledged: int = 0
    reconnects: int = 0
    heartbeats: int = 0
    stores_emptied: int = 0
    """How often the server said that what was stored before is lost."""
    errors: Counter[str] = field(default_factory=Counter)
    """Error replies by code."""
    latencies: list[float] = field(default_factory=list)
    """Seconds from first sending a message to its acknowledgement, resending included."""
    failure: str = ""
    """Why the stream ended early; empty if it did not."""

    @property
    def complete(self) -> bool:
        """Whether the stream ran to its end and everything sent was acknowledged and kept."""
        kept = not self.failure and not self.stores_emptied
        return kept and self.frames_sent == self.frames_acknowledged


def percentile(latencies: list[float], share: float) -> float | None:
    """Return the smallest latency that at least `share` of them do not exceed, None without any."""
    if not latencies:
        return None
    ranked = sorted(latencies)
    return ranked[max(0, min(len(ranked) - 1, round(share * len(ranked) + 0.5) - 1))]
