/** A simulated candidate and the engine that watches them: 37 features a frame, noisy as real ones. */

/** What the candidate may do besides sitting there. */
export const ACTS = ["away", "phone", "other", "gone"];

const CENTRE = { x: 320, y: 230 };
const FACE = { w: 150, h: 190 };

export class Person {
  acts = new Set();
  #shift = { x: 0, y: 0 };

  /** Begin or cease to do something. */
  set(act, does) {
    if (does) this.acts.add(act);
    else this.acts.delete(act);
  }

  /** Return the features of the next frame, of a picture of 640 × 480 pixels. */
  look() {
    this.#shift.x = 0.95 * this.#shift.x + noise(1.5);
    this.#shift.y = 0.95 * this.#shift.y + noise(1);
    const others = this.acts.has("other") ? 1 : 0;
    const phone = this.#phone();
    if (this.acts.has("gone")) return others ? { ...this.#face(1, 120), ...phone } : { ...NOBODY, ...phone };
    return { ...this.#face(1 + others, 0), ...phone };
  }

  #face(count, aside) {
    const away = this.acts.has("away");
    const x = CENTRE.x + aside + this.#shift.x;
    const y = CENTRE.y + this.#shift.y;
    const yaw = (away ? 0.34 : 0.02) + noise(0.015);
    const eyes = { left: x - 0.2 * FACE.w, right: x + 0.2 * FACE.w, y: y - 0.12 * FACE.h };
    const glance = away ? 160 : 0;
    return {
      face_present: 1,
      no_of_face: count,
      face_x: rounded(x - FACE.w / 2),
      face_y: rounded(y - FACE.h / 2),
      face_w: rounded(FACE.w + noise(1)),
      face_h: rounded(FACE.h + noise(1)),
      left_eye_x: rounded(eyes.left),
      left_eye_y: rounded(eyes.y),
      right_eye_x: rounded(eyes.right),
      right_eye_y: rounded(eyes.y),
      nose_tip_x: rounded(x + 80 * yaw),
      nose_tip_y: rounded(y + 0.08 * FACE.h),
      mouth_x: rounded(x),
      mouth_y: rounded(y + 0.25 * FACE.h),
      face_conf: Math.round(90 + noise(2)),
      hand_count: 0,
      hand_obj_interaction: 0,
      head_pose: away ? "right" : "forward",
      head_pitch: rounded(0.02 + noise(0.01), 4),
      head_yaw: rounded(yaw, 4),
      head_roll: rounded(noise(0.01), 4),
      gaze_on_script: away ? 0 : 1,
      gaze_direction: away ? "right" : "center",
      gazePoint_x: rounded(x + glance + noise(6)),
      gazePoint_y: rounded(eyes.y + noise(6)),
      pupil_left_x: rounded(eyes.left + glance / 20 + noise(0.5)),
      pupil_left_y: rounded(eyes.y + noise(0.5)),
      pupil_right_x: rounded(eyes.right + glance / 20 + noise(0.5)),
      pupil_right_y: rounded(eyes.y + noise(0.5)),
    };
  }

  #phone() {
    if (!this.acts.has("phone")) return { phone_present: 0, phone_loc_x: 0, phone_loc_y: 0, phone_conf: 0 };
    const hands = { hand_count: 1, hand_obj_interaction: 1, left_hand_x: 440, left_hand_y: 380 };
    const place = { phone_loc_x: rounded(450 + noise(4)), phone_loc_y: rounded(350 + noise(4)) };
    return { ...hands, phone_present: 1, ...place, phone_conf: Math.round(88 + noise(3)) };
  }
}

/** What engines say when they find no face. */
const NOBODY = { face_present: 0, no_of_face: 0, face_conf: 0, head_pose: "None", gaze_direction: "None" };

function noise(deviation) {
  return deviation * Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

function rounded(value, digits = 1) {
  return Number(value.toFixed(digits));
}
