"""What an engine in a browser makes of a scene: 37 features a frame, noisy, uncalibrated, sometimes wrong."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.random import Generator

from proctor.simulator.camera import Camera
from proctor.simulator.scene import Counts, Flags, Floats, Scene

PICTURE_WIDTH, PICTURE_HEIGHT = 640, 480
"""Pixels of the camera picture that boxes and points refer to."""

_HEAD_POSE_THRESHOLD = 0.12
"""Head ratio beyond which the engine calls a head turned. It knows nothing of where the camera stands."""
_ON_SCREEN = 1.0
"""Gaze in half screens up to which the engine says it is on the screen."""
_GAZE_PIXELS_X, _GAZE_PIXELS_Y = 90.0, 70.0
"""How far the uncalibrated gaze point moves from between the eyes for half a screen."""

Columns = dict[str, np.ndarray[Any, Any]]


def look_through(camera: Camera, scene: Scene, rng: Generator) -> Iterator[dict[str, Any]]:
    """Yield the features of each frame of the scene. With no face found, each is 0 or "None"."""
    faces = _count_faces(camera, scene, rng)
    columns = (
        _face(camera, scene, faces, rng) | _hands_and_phone(camera, scene, rng) | _head(camera, scene, rng)
    )
    # With two faces, or a face far to the side, the engine often fails to fit its mesh.
    fitted = scene.face_visible & (rng.random(faces.size) > np.where(faces > 1, 0.3, 0.002))
    fitted &= rng.random(faces.size) > np.clip(np.abs(scene.yaw) - 0.75, 0, 0.6)
    _blank(columns, ~fitted, ("head_pitch", "head_yaw", "head_roll"), ("head_pose",))
    columns |= _gaze(camera, scene, columns, fitted, rng)
    texts = ("head_pose", "gaze_direction")
    _blank(columns, faces == 0, [name for name in columns if name not in texts], texts)
    names = tuple(columns)
    for row in zip(*(column.tolist() for column in columns.values()), strict=True):
        yield dict(zip(names, row, strict=True))


def _blank(columns: Columns, where: Flags, numbers: Any, texts: Any) -> None:
    for name in numbers:
        columns[name][where] = 0
    for name in texts:
        columns[name][where] = "None"


def _count_faces(camera: Camera, scene: Scene, rng: Generator) -> Counts:
    size = scene.seconds.size
    turned = np.clip(np.abs(scene.yaw) - 0.6, 0, 0.5)
    own = scene.face_visible & (rng.random(size) > camera.missed_faces + turned)
    others = rng.binomial(scene.others, 0.92)
    if camera.poster:
        others += rng.random(size) < camera.poster
    return own + others + (rng.random(size) < camera.false_faces)


def _face(camera: Camera, scene: Scene, faces: Counts, rng: Generator) -> Columns:
    size = scene.seconds.size

    def jitter(pixels: float) -> Floats:
        return rng.normal(0, pixels, size)

    width = camera.face_width * scene.nearness
    x = camera.face_x + scene.shift_x * camera.face_width - width / 2 + jitter(1.2)
    y = camera.face_y + scene.shift_y * camera.face_width - width / 2 + jitter(1.2)
    x = np.where(scene.face_visible, x, x + 1.3 * camera.face_width)  # the box is somebody else's
    lean = scene.roll * 0.1
    parts = {
        "left_eye": (0.28 - 0.10 * scene.yaw, 0.27 - lean - 0.06 * scene.pitch),
        "right_eye": (0.70 - 0.10 * scene.yaw, 0.27 + lean - 0.06 * scene.pitch),
        "nose_tip": (0.49 - 0.25 * scene.yaw, 0.48 - 0.15 * scene.pitch),
        "mouth": (0.49 - 0.15 * scene.yaw, 0.70 - 0.10 * scene.pitch),
    }
    columns: Columns = {"face_present": (faces > 0).astype(np.int64), "no_of_face": faces}
    columns |= {"face_x": np.round(x, 2), "face_y": np.round(y, 2)}
    columns |= {"face_w": np.round(width + jitter(0.5), 2), "face_h": np.round(width + jitter(0.5), 2)}
    for part, (right, down) in parts.items():
        columns[f"{part}_x"] = np.round(x + right * width + jitter(0.6), 2)
        columns[f"{part}_y"] = np.round(y + down * width + jitter(0.6), 2)
    conf = camera.face_conf + jitter(2.0) - 18 * np.abs(scene.yaw) - 20 * np.clip(-scene.pitch, 0, 1)
    columns["face_conf"] = np.round(np.clip(conf, 20, 99), 2)
    return columns


def _hands_and_phone(camera: Camera, scene: Scene, rng: Generator) -> Columns:
    size = scene.seconds.size
    seen = rng.random(size) < 0.9 * scene.phone
    imagined = (rng.random(size) < camera.false_phones) & ~seen
    phone = seen | imagined
    conf = np.where(
        seen, 60 + 30 * scene.phone + rng.normal(0, 4, size), rng.uniform(50, camera.false_phone_conf, size)
    )
    hands = np.where(rng.random(size) < 0.06, 0, scene.hands)
    left, right = hands > 0, hands > 1
    points = {
        "left_hand_x": (0.3, left, 3),
        "left_hand_y": (0.92, left, 3),
        "right_hand_x": (0.6, right, 3),
        "right_hand_y": (0.93, right, 3),
        "phone_loc_x": (camera.face_x - 80, phone, 0),
        "phone_loc_y": (camera.face_y + 110, phone, 0),
    }
    columns: Columns = {"hand_count": hands}
    for name, (middle, shown, digits) in points.items():
        around = rng.normal(middle, 0.02 if digits else 6, size)
        columns[name] = np.where(shown, np.round(around, digits), 0.0)
    columns["hand_obj_interaction"] = (left & seen).astype(np.int64)
    columns["phone_present"] = phone.astype(np.int64)
    columns["phone_conf"] = np.where(phone, np.round(np.clip(conf, 45, 96), 1), 0.0)
    return columns


def _head(camera: Camera, scene: Scene, rng: Generator) -> Columns:
    size = scene.seconds.size
    yaw = camera.yaw + camera.head_gain * scene.yaw + rng.normal(0, camera.head_noise, size)
    pitch = camera.pitch + camera.head_gain * scene.pitch + rng.normal(0, camera.head_noise, size)
    roll = 0.1 * camera.head_gain * scene.roll + rng.normal(0, 0.1 * camera.head_noise, size)
    edge = _HEAD_POSE_THRESHOLD
    pose = np.select([yaw > edge, yaw < -edge, pitch < -edge], ["left", "right", "down"], "forward")
    return {
        "head_pose": pose.astype(object),
        "head_pitch": np.round(pitch, 5),
        "head_yaw": np.round(yaw, 5),
        "head_roll": np.round(roll, 6),
    }


def _gaze(camera: Camera, scene: Scene, face: Columns, fitted: Flags, rng: Generator) -> Columns:
    size = scene.seconds.size
    across = scene.gaze_x + camera.gaze_x + rng.normal(0, camera.gaze_noise, size)
    down = scene.gaze_y + camera.gaze_y + rng.normal(0, camera.gaze_noise, size)
    on_screen = (np.abs(across) <= _ON_SCREEN) & (np.abs(down) <= _ON_SCREEN)
    sides = np.where(across < 0, "left", "right")
    corner = np.char.add(np.where(down < 0, "top_", "bottom_"), sides)
    middle_x = (face["left_eye_x"] + face["right_eye_x"]) / 2
    middle_y = (face["left_eye_y"] + face["right_eye_y"]) / 2
    columns: Columns = {
        "gaze_on_script": on_screen.astype(np.int64),
        "gaze_direction": np.where(on_screen, "center", corner).astype(object),
        "gazePoint_x": np.clip(np.rint(middle_x + _GAZE_PIXELS_X * across), 1, PICTURE_WIDTH),
        "gazePoint_y": np.clip(np.rint(middle_y + _GAZE_PIXELS_Y * down), 1, PICTURE_HEIGHT),
    }
    for eye in ("left", "right"):
        columns[f"pupil_{eye}_x"] = np.rint(face[f"{eye}_eye_x"] + 3 * across)
        columns[f"pupil_{eye}_y"] = np.rint(face[f"{eye}_eye_y"] + 2 * down)
    unseen = ~fitted | ~scene.eyes_open | (rng.random(size) < camera.missed_eyes)
    _blank(columns, unseen, [name for name in columns if name != "gaze_direction"], ("gaze_direction",))
    return columns
