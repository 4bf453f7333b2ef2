"""What the usage document shows, for whoever tests it."""

from typing import Any

DOCUMENTED: dict[str, Any] = {
    "face_present": 1,
    "no_of_face": 1,
    "face_x": 260,
    "face_y": 312,
    "face_w": 150,
    "face_h": 150,
    "face_conf": 88,
    "head_yaw": 0.01,
    "head_pitch": 0.018,
    "head_roll": -0.0005,
    "head_pose": "forward",
    "gaze_on_script": 0,
    "gaze_direction": "bottom_right",
    "gazePoint_x": 500,
    "gazePoint_y": 400,
    "phone_present": 1,
    "phone_conf": 87,
    "hand_count": 1,
}
"""The features of its raw message."""
