/** Types of `proctor-telemetry.js`: what a browser tells without a camera. */

import type { Client } from "./proctor-client.js";

/**
 * Report to a client, as the engine's events: leaving the tab and coming back (TAB_SWITCHED, TAB_RETURNED), the
 * focus (WINDOW_FOCUS_LOST, WINDOW_FOCUS_RESTORED), COPY_ATTEMPT, PASTE_ATTEMPT, RIGHT_CLICK, EXITED_FULLSCREEN and
 * MOUSE_LEFT_WINDOW. What was copied is not looked at. Returns what stops it.
 */
export function watchBrowser(client: Pick<Client, "sendEvent">, page?: Document): () => void;
