/** Types of `proctor-client.js`: stream features and events of an exam session, and lose nothing on the way. */

/** Begin to stream to a session. Throws TypeError for options that cannot be. */
export function connect(options: Options): Client;

export interface Options {
  /** Id of the exam session, as it was started. */
  sessionId: string;
  /** Address of the server, or of a WebSocket of it; without it, the server that the page came from. */
  url?: string;
  /** The candidate's token, as `start` answered it; servers without authentication need none. */
  token?: string | null;
  /**
   * Asked for a new token when the server refuses the present one. Without it, or if it has none (null), the
   * client is `refused` until `useToken` is called. If it throws, it is asked again after a pause.
   */
  renewToken?: (refusal: Refusal) => string | null | undefined | Promise<string | null | undefined>;
  /** Most bytes of frames and events that wait to be sent; 2 MiB by default. Then frames are thinned. */
  bufferBytes?: number;
  onState?: (change: StateChange) => void;
  /** The policy has something said to the candidate, e.g. that the face is not in the picture. */
  onAlert?: (alert: Alert) => void;
  /** A proctor writes to the candidate. */
  onMessage?: (message: ProctorMessage) => void;
  /** Something is wrong; the client goes on as it can. */
  onProblem?: (problem: Problem) => void;
  /** Data is given up. Nothing else is ever lost without `status.unsent` saying so. */
  onLoss?: (loss: Loss) => void;
  /** The session has ended on the server, which takes no more. */
  onEnd?: (unsent: Counts) => void;
  /** Instead of the page's own, for a page that has to go other ways. */
  WebSocket?: typeof WebSocket;
  fetch?: typeof fetch;
}

export interface Client {
  /**
   * Take in the features of one frame; without `timestamp` or `ts` they are of this moment. Returns whether
   * they were taken: not after `end`, nor if they are over 60,000 bytes or no JSON. Does not wait or throw.
   */
  send(features: Features | object): boolean;
  /** The same for an event: the engine's `onEvent` can be `(event) => client.sendEvent(event)`. */
  sendEvent(event: EngineEvent | object): boolean;
  /**
   * Take in nothing more, and close once all is acknowledged, or after so many `seconds` (15). The session goes
   * on: only the server's side ends it. What is unsent then is sent by the next client of the session in this tab.
   */
  end(options?: { seconds?: number }): Promise<{ unsent: number }>;
  /** Close at once; the next client of the session in this tab sends what is not acknowledged. */
  close(): void;
  /** Go on with another token. */
  useToken(token: string): void;
  readonly status: Status;
}

/**
 * - `connecting`: for the first time.
 * - `open`: on a WebSocket.
 * - `fallback`: by single requests, because WebSockets are blocked. They are tried again after minutes.
 * - `waiting`: until the next attempt to connect.
 * - `refused`: the server does not accept the token; waits for `useToken`.
 * - `ended`: the session has ended on the server.
 * - `closed`: `end` or `close` was called.
 */
export type State = "connecting" | "open" | "fallback" | "waiting" | "refused" | "ended" | "closed";

export interface StateChange {
  state: State;
  /** Of `waiting`: milliseconds until the next attempt. */
  retryMs?: number;
  /** Of `refused`: what the server said. */
  detail?: string;
}

export interface Counts {
  frames: number;
  events: number;
}

export interface Status {
  state: State;
  /** Frames and events that are not acknowledged. */
  unsent: number;
  /** Messages on their way. */
  flying: number;
  /** Frames and events that the server has said it has stored, of this tab. */
  acknowledged: number;
  /** What was given up by this client. */
  lost: Counts;
  reconnects: number;
  /** The server's clock less this one, as measured last; null before. */
  clockOffsetMs: number | null;
  /** How long a message took there and back, as measured last. */
  roundTripMs: number | null;
}

export interface Loss extends Counts {
  /**
   * `full`: the buffer was, and frames were thinned, the older ones more, or events dropped where there was no
   * frame left. `too_big`: larger than the server takes. `store`: the server has lost what it had acknowledged,
   * and the page remembers no more (at least so many frames). `ended`: the session ended first. Else the error
   * code with which the server refused it.
   */
  reason: string;
}

export interface Problem {
  /**
   * An error code of the server (`too_fast`, `invalid_feature` …), `flood` or `too_big` (it has closed the
   * connection for that), `unauthenticated`, `forbidden`, `no_token` (`renewToken` threw), `unknown_session`, `origin` (the
   * server may not allow pages from here), `not_saved` (a reload would lose what is unsent), `invalid_json`.
   */
  code: string;
  detail: string;
}

export interface Refusal {
  /** 401 or 403. */
  status: number;
  detail: string;
}

export interface Alert {
  type: "alert";
  session_id: string;
  rule: string;
  message: string;
  /** ISO 8601. */
  timestamp: string;
}

export interface ProctorMessage {
  type: "message";
  session_id: string;
  text: string;
  /** ISO 8601. */
  timestamp: string;
}

/** Names and values as `/docs` lists them; others are kept for plugins. An interface of your own will do as well. */
export interface Features {
  /** Milliseconds since the epoch, or ISO 8601. */
  timestamp?: number | string;
  [name: string]: unknown;
}

/** What the engine's `onEvent` is called with. */
export interface EngineEvent {
  event: string;
  lv?: number;
  /** Milliseconds since the epoch. */
  ts?: number | string;
  source?: string;
  frameNumber?: number;
  extractedFeatures?: Features | object | null;
  [name: string]: unknown;
}
