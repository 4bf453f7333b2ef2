"""The bounds that the rules' settings share."""

from typing import Annotated

from msgspec import Meta

Seconds = Annotated[float, Meta(ge=0.1, le=3600)]
"""A duration of event time."""

Share = Annotated[float, Meta(ge=0, le=1)]
"""A confidence, from 0 to 1 although frames carry it as 0-100."""

Times = Annotated[int, Meta(ge=0, le=100)]
"""How often something has to happen; 0 never counts repeats."""

Rate = Annotated[float, Meta(ge=0.01, le=100)]
"""How many times as fast."""

Ratio = Annotated[float, Meta(ge=0.01, le=10)]
"""A difference in head pose, in the browser's dimensionless ratios: about 0.3 is turned."""

Spreads = Annotated[float, Meta(ge=0.5, le=100)]
"""A distance from the candidate's own median, in standard deviations (1.4826 times the MAD)."""

Pixels = Annotated[float, Meta(ge=1, le=10_000)]
"""A distance in the browser's picture."""

Events = Annotated[int, Meta(ge=1, le=1000)]
"""A number of events."""
