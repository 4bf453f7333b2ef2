"""Cameras, and what the detectors behind them get wrong."""

from dataclasses import dataclass, replace
from typing import Self

from numpy.random import Generator


@dataclass(frozen=True)
class Camera:
    """Where a camera stands and what its detectors get wrong. Rates are shares of frames."""

    yaw: float
    """Offset of the head ratios, because the camera is beside or below the screen."""
    pitch: float
    head_gain: float
    """Head ratio of a fully turned head."""
    head_noise: float
    gaze_x: float
    """Offset of the gaze, half screens."""
    gaze_y: float
    gaze_noise: float
    face_x: float
    """Usual middle of the face, pixels."""
    face_y: float
    face_width: float
    face_conf: float
    """Usual confidence, 0 to 100."""
    missed_faces: float
    missed_eyes: float
    false_faces: float
    false_phones: float
    false_phone_conf: float = 72.0
    """Highest confidence, 0 to 100, in a phone that is none."""
    poster: float = 0.0
    """Share of frames in which the face on a poster or a photograph behind is taken for a person."""

    @classmethod
    def usual(cls, rng: Generator) -> Self:
        """A notebook's own camera in a lit room."""
        return cls(
            yaw=rng.normal(0, 0.03),
            pitch=rng.normal(0.01, 0.03),
            head_gain=rng.uniform(0.22, 0.36),
            head_noise=rng.uniform(0.004, 0.01),
            gaze_x=rng.normal(0, 0.06),
            gaze_y=rng.normal(0, 0.06),
            gaze_noise=rng.uniform(0.06, 0.12),
            face_x=rng.normal(320, 25),
            face_y=rng.normal(270, 25),
            face_width=rng.uniform(125, 200),
            face_conf=rng.uniform(87, 96),
            missed_faces=rng.uniform(0, 0.006),
            missed_eyes=rng.uniform(0.02, 0.14),
            false_faces=rng.uniform(0, 0.002),
            false_phones=rng.uniform(0, 0.002),
        )

    @classmethod
    def odd(cls, rng: Generator) -> Self:
        """A camera far to one side or below, in bad light, with a poster or a bright window behind."""
        side = 1.0 if rng.random() < 0.5 else -1.0
        return cls(
            yaw=side * rng.uniform(0.15, 0.3),
            pitch=rng.uniform(-0.15, 0.2),
            head_gain=rng.uniform(0.2, 0.36),
            head_noise=rng.uniform(0.01, 0.025),
            gaze_x=-side * rng.uniform(0.2, 0.7),
            gaze_y=rng.uniform(-0.4, 0.5),
            gaze_noise=rng.uniform(0.15, 0.3),
            face_x=320 + side * rng.uniform(40, 130),
            face_y=rng.normal(260, 50),
            face_width=rng.uniform(90, 240),
            face_conf=rng.uniform(68, 85),
            missed_faces=rng.uniform(0.01, 0.05),
            missed_eyes=rng.uniform(0.1, 0.4),
            false_faces=rng.uniform(0.005, 0.03),
            false_phones=rng.uniform(0.002, 0.015),
        )

    @classmethod
    def flickering(cls, rng: Generator) -> Self:
        """Detectors that now and then see, for a frame, a face or a phone that is not there."""
        return replace(
            cls.usual(rng),
            false_faces=rng.uniform(0.02, 0.08),
            false_phones=rng.uniform(0.02, 0.06),
            false_phone_conf=88.0,
        )

    @classmethod
    def before_poster(cls, rng: Generator) -> Self:
        """A poster on the wall behind, whose face is found nearly always."""
        return replace(cls.usual(rng), poster=rng.uniform(0.93, 0.99))

    @classmethod
    def before_dim_poster(cls, rng: Generator) -> Self:
        """A poster whose face is found in some frames and not in others."""
        return replace(cls.usual(rng), poster=rng.uniform(0.1, 0.6))

    @classmethod
    def through_glasses(cls, rng: Generator) -> Self:
        """Glasses that mirror the screen: the eyes are seldom found, and badly."""
        return replace(cls.usual(rng), missed_eyes=rng.uniform(0.5, 0.85), gaze_noise=rng.uniform(0.3, 0.55))

    @classmethod
    def in_dim_light(cls, rng: Generator) -> Self:
        """A face that is hard to make out: low confidence, everything noisy, often not found at all."""
        return replace(
            cls.usual(rng),
            face_conf=rng.uniform(42, 62),
            missed_faces=rng.uniform(0.06, 0.22),
            missed_eyes=rng.uniform(0.3, 0.6),
            head_noise=rng.uniform(0.02, 0.04),
            gaze_noise=rng.uniform(0.2, 0.35),
            false_faces=rng.uniform(0.002, 0.01),
        )

    @classmethod
    def far_away(cls, rng: Generator) -> Self:
        """Somebody who sits well back from the table: a small face, coarse gaze and pose."""
        return replace(
            cls.usual(rng),
            face_width=rng.uniform(55, 85),
            face_conf=rng.uniform(65, 82),
            gaze_noise=rng.uniform(0.15, 0.3),
            head_noise=rng.uniform(0.012, 0.025),
            missed_eyes=rng.uniform(0.15, 0.4),
        )
