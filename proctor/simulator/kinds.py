"""Kinds of exam takers, honest and not: what they do, how often, and through which camera and network."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from numpy.random import Generator

from proctor.simulator.camera import Camera
from proctor.simulator.habits import Habit
from proctor.simulator.scene import Scene, Span


@dataclass(frozen=True)
class Network:
    """How frames get from the browser to the server."""

    regularity: float = 12.0
    """Shape of the gamma distribution of the time between frames: higher is more even."""
    gaps: Habit | None = None
    """Times from which no frame exists, because the browser was stuck or threw them away."""
    outages: Habit | None = None
    """Times without a connection; the frames of them come later, in a burst."""
    fps_max: float = math.inf
    """Most frames per second that this client sends, whatever it is asked for."""
    silent_seconds: float = 0.0
    """A client driven by events sends a frame when something changes, or after so long; 0: it sends all."""


@dataclass(frozen=True)
class Kind:
    """A sort of exam taker: what they do, with how much eagerness, through which camera and network."""

    habits: Mapping[str, float]
    """Name to eagerness: 1 is the habit's usual rate."""
    camera: Callable[[Generator], Camera] = Camera.usual
    network: Network = field(default_factory=Network)


def _nothing(_scene: Scene, _span: Span, _rng: Generator) -> None:
    """Networks change no scene."""


_BAD_NETWORK = Network(
    regularity=1.5,
    gaps=Habit("gap", _nothing, (2.0, 25.0), per_hour=14, at_least=1),
    outages=Habit("outage", _nothing, (3.0, 20.0), per_hour=10, at_least=1),
)
_SLOW_CLIENT = Network(fps_max=0.5)
_EVENT_DRIVEN = Network(silent_seconds=4.0)
_CALM = {"blink": 1.0, "glance": 0.3, "thinking": 0.2, "posture": 0.3, "hands": 0.5}
_LIVELY = dict.fromkeys(
    ("blink", "glance", "thinking", "head_turn", "posture", "face_dropout", "hands", "mumble", "mouse_out"),
    1.0,
)
KINDS: Mapping[str, Kind] = {
    "honest-calm": Kind(_CALM),
    "phone": Kind(_LIVELY | {"phone": 1.0}),
    "honest-lively": Kind(_LIVELY | {"notification": 1.0}),
    "second-person": Kind(_LIVELY | {"second_person": 1.0}),
    "honest-bad-network": Kind(_CALM, network=_BAD_NETWORK),
    "reads-notes": Kind(_LIVELY | {"notes": 1.0}),
    "honest-odd-camera": Kind(_LIVELY, camera=Camera.odd),
    "leaves-seat": Kind(_LIVELY | {"absence": 1.0}),
    "switches-tabs": Kind(_CALM | {"tab": 1.0, "paste": 1.0}),
    "talks": Kind(_LIVELY | {"talk": 1.0}),
    "honest-flickering-detectors": Kind(
        _LIVELY | {"face_flicker": 1.0, "phone_flicker": 1.0}, camera=Camera.flickering
    ),
    "brief-phone": Kind(_LIVELY | {"brief_phone": 1.0}),
    "honest-thinker": Kind(_LIVELY | {"thinking": 4.0, "glance": 2.0}),
    "looks-aside": Kind(_LIVELY | {"looks_aside": 1.0}),
    "honest-poster": Kind(_LIVELY, camera=Camera.before_poster),
    "eyes-aside": Kind(_LIVELY | {"eyes_aside": 1.0}),
    "honest-flickering-poster": Kind(_LIVELY, camera=Camera.before_dim_poster),
    "phone-in-dim-light": Kind(_LIVELY | {"face_loss": 1.0, "phone": 1.0}, camera=Camera.in_dim_light),
    "honest-glasses": Kind(_LIVELY, camera=Camera.through_glasses),
    "notes-slow-client": Kind(_LIVELY | {"notes": 1.0}, network=_SLOW_CLIENT),
    "honest-dim-light": Kind(_LIVELY | {"face_loss": 1.0}, camera=Camera.in_dim_light),
    "phone-event-driven": Kind(_LIVELY | {"phone": 1.0}, network=_EVENT_DRIVEN),
    "honest-reads-aloud": Kind(_LIVELY | {"read_aloud": 1.0}),
    "honest-slow-client": Kind(_LIVELY, network=_SLOW_CLIENT),
    "honest-event-driven": Kind(_LIVELY, network=_EVENT_DRIVEN),
    "honest-sits-back": Kind(_LIVELY | {"sit_back": 1.0}, camera=Camera.far_away),
}
"""Every sort of exam taker, in an order whose first few are a fair mix. Names of honest ones say so."""
