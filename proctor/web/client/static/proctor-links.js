/** The two ways to the server: a WebSocket, and single requests where those are blocked. */

const PAUSE_MS = 250;
const PAUSE_MOST_MS = 10_000;
const GREETING_MS = 10_000;
const REQUEST_MS = 15_000;
/** A candidate has a token, and nothing to do with who is signed in on this browser. */
const PLAIN = { cache: "no-store", credentials: "omit" };
const LOOK_EVERY_MS = 1_000;
/** A server sends a heartbeat every ten seconds, if nothing else is set: three of them, and some delay. */
const SILENCE_MS = 35_000;
const SILENCE_PER_HEARTBEAT = 3.5;
const SILENCE_MOST_MS = 300_000;
const CLOCK_EVERY_MS = 310_000;
/** The system's clock was set if it differs by so much more from one that cannot be. */
const CLOCK_SET_MS = 500;

/** Pauses between attempts: they double, and half of each is left to chance, so that not all come at once. */
export class Backoff {
  #ms = PAUSE_MS;

  reset() {
    this.#ms = PAUSE_MS;
  }

  /** Return how long to wait now, in milliseconds. */
  next() {
    const ms = this.#ms * (0.5 + Math.random() / 2);
    this.#ms = Math.min(2 * this.#ms, PAUSE_MOST_MS);
    return Math.round(ms);
  }
}

/** What is known of a server's heartbeats, from one connection to the next. */
export class Patience {
  /** How long a server may be silent, in milliseconds, until its connection counts as lost. */
  silenceMs = SILENCE_MS;
  #beat = null;

  connected() {
    this.#beat = null;
  }

  heartbeat() {
    const now = performance.now();
    if (this.#beat !== null) this.silenceMs = Math.max(10_000, SILENCE_PER_HEARTBEAT * (now - this.#beat));
    this.#beat = now;
  }

  /** The connection was given up. Perhaps the heartbeats of this server are only rarer than any so far. */
  lost() {
    if (this.#beat === null) this.silenceMs = Math.min(2 * this.silenceMs, SILENCE_MOST_MS);
  }
}

/** When the server is to be told what time it is here: now and then, and when the system's clock was set. */
class Watch {
  #at = -Infinity;
  #drift = 0;

  isDue() {
    const now = performance.now();
    const drift = Date.now() - now;
    if (Math.abs(drift - this.#drift) <= CLOCK_SET_MS && now - this.#at <= CLOCK_EVERY_MS) return false;
    this.#at = now;
    this.#drift = drift;
    return true;
  }
}

/** How far the clocks are apart, by the time that the server was told and what it says of its own. */
function difference({ timestamp, server_timestamp }) {
  const roundTripMs = Math.max(0, Date.now() - timestamp);
  return { offsetMs: Math.trunc(Date.parse(server_timestamp) - timestamp - roundTripMs / 2) || 0, roundTripMs };
}

/**
 * One WebSocket. `over` is fulfilled with how it ended, `{greeted, code, reason}`: `greeted` says whether the
 * server has spoken on it, and the code is 1006 if it was given up here.
 */
export class Socket {
  greeted = false;
  /** The server's clock less this one, and how long a message takes there and back, in milliseconds. */
  clock = null;
  over;
  #end;
  #socket;
  #hear;
  #patience;
  #looking;
  #heardAt = performance.now();
  #doubt = false;
  #watch = new Watch();

  /** `hear(message)` is called with each message of the server. */
  constructor({ WebSocket, address, token, patience, hear }) {
    this.over = new Promise((resolve) => (this.#end = resolve));
    this.#hear = hear;
    this.#patience = patience;
    patience.connected();
    try {
      this.#socket = new WebSocket(address, token ? ["proctor.v1", `token.${token}`] : []);
    } catch (failure) {
      this.#end({ greeted: false, code: 1006, reason: failure.message });
      return;
    }
    this.#socket.onopen = () => this.tellClock();
    this.#socket.onmessage = ({ data }) => this.#take(data);
    this.#socket.onclose = ({ code, reason }) => this.#finish(code, reason);
    this.#looking = setInterval(() => this.#look(), LOOK_EVERY_MS);
  }

  send(text) {
    this.#socket.send(text);
  }

  /** Say what time it is here, if it is time for that; only while nothing is on its way for it to wait for. */
  tellClock() {
    if (this.#watch.isDue()) this.#socket.send(JSON.stringify({ type: "clock", timestamp: Date.now() }));
  }

  close() {
    this.#socket?.close(1000);
    this.#finish(1000, "");
  }

  #take(data) {
    this.#heardAt = performance.now();
    this.#doubt = false;
    const message = JSON.parse(data);
    this.greeted = true;
    if (message.type === "heartbeat") this.#patience.heartbeat();
    if (message.type === "clock") this.#measure(message);
    this.#hear(message);
  }

  #measure(told) {
    const measured = difference(told);
    if (this.clock !== null && this.clock.roundTripMs < measured.roundTripMs && measured.roundTripMs > 1000) return;
    this.clock = measured;
  }

  /** Give up a silent server; but look twice, for a page that slept has not read yet what came meanwhile. */
  #look() {
    const silence = performance.now() - this.#heardAt;
    if (silence < (this.greeted ? this.#patience.silenceMs : GREETING_MS)) return;
    if (this.#doubt) {
      if (this.greeted) this.#patience.lost();
      this.#socket.close();
      this.#finish(1006, "silence");
    }
    this.#doubt = true;
  }

  #finish(code, reason) {
    clearInterval(this.#looking);
    if (this.#socket) this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#end({ greeted: this.greeted, code, reason });
  }
}

/** Requests to the server. */
export class Http {
  /** Nobody answered, or somebody in between did: a proxy, or a network that wants one to sign in first. */
  static NONE = 0;
  static FOREIGN = -1;
  #fetch;
  #base;
  #sessionId;
  #watch = new Watch();

  constructor({ fetch, base, sessionId }) {
    this.#fetch = (...request) => fetch(...request);
    this.#base = base;
    this.#sessionId = sessionId;
  }

  /** Look the session up. */
  look(token) {
    return this.#ask(`/api/v1/session/${this.#sessionId}`, token, { method: "GET" });
  }

  /** Send a message and wait until it is stored. */
  post(message, token) {
    const body = `{"session_id":${JSON.stringify(this.#sessionId)},${message.text.slice(1)}`;
    return this.#ask("/api/v1/session/ws/fallback", token, { method: "POST", body });
  }

  /** Say what time it is here, if it is time for that; returns the clocks' difference as a socket has it, or null. */
  async tellClock(token) {
    if (!this.#watch.isDue()) return null;
    const timestamp = Date.now();
    const { status, body } = await this.post({ text: JSON.stringify({ type: "clock", timestamp }) }, token);
    if (body.server_timestamp) return difference({ timestamp, ...body });
    if (status <= 0) this.#watch = new Watch();
    return null;
  }

  /** Return whether the server answers, although pages of this origin may not read what. */
  async isForeign() {
    try {
      await this.#fetch(`${this.#base}/health`, { ...PLAIN, mode: "no-cors", signal: deadline() });
      return true;
    } catch {
      return false;
    }
  }

  /** Returns `{status, body, retryMs}`; the status is `Http.NONE` or `Http.FOREIGN` if no server of ours answered. */
  async #ask(path, token, request) {
    const headers = { Accept: "application/json" };
    if (request.body) headers["Content-Type"] = "application/json";
    if (token) headers.Authorization = `Bearer ${token}`;
    try {
      const options = { ...PLAIN, ...request, headers, signal: deadline() };
      const answer = await this.#fetch(this.#base + path, options);
      const body = parsed(await answer.text());
      const retryMs = 1000 * (Number(answer.headers.get("Retry-After")) || 0);
      return { status: isOurs(answer, body) ? answer.status : Http.FOREIGN, body, retryMs };
    } catch {
      return { status: Http.NONE, body: {}, retryMs: 0 };
    }
  }
}

function deadline() {
  return AbortSignal.timeout(REQUEST_MS);
}

/** Proxies refuse large bodies as well, and that is the same. */
function isOurs({ ok, status }, body) {
  return status === 413 || (ok ? typeof body.session_id === "string" : body.status === status);
}

function parsed(text) {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}
