/** Keeps a session connected, by whichever way there is, and sends what its outbox has. */

import { Backoff, Http, Patience, Socket } from "./proctor-links.js";
import { numberIn } from "./proctor-messages.js";

/** A server reads no more from a client that has so many messages on their way. */
const FLYING_MESSAGES = 32;
const FLYING_BYTES = 256 * 1024;
const TICK_MS = 5_000;
/** Before a server that had to close because of what was sent is tried again. */
const FLOOD_PAUSE_MS = 30_000;
/** A socket that fails so often, though requests succeed, is blocked. */
const BLOCKED_AFTER = 2;
/** How long single requests are used until a socket is tried again. */
const FALLBACK_MS = 60_000;
const FALLBACK_MOST_MS = 600_000;
/** Between two requests, unless there is much to send. */
const GATHER_MS = 500;
const MUCH_ITEMS = 100;
/** How often in a row a new token is asked for. */
const RENEWALS = 2;

export class Stream {
  /** Connections after the first. */
  reconnects = 0;
  /** What the server's clock shows, as measured last: `{offsetMs, roundTripMs}`. */
  clock = null;
  isOver = false;
  /** What servers take in one message, unless they say that it is less; some bytes are left for a wrapper. */
  limits = { frames: 500, bytes: 60_000, item: 60_000 };
  #to;
  #on;
  #outbox;
  #token;
  #patience = new Patience();
  #socket = null;
  /** The server has said what it has, so that messages may be sent on the socket. */
  #resumed = false;
  #connected = false;
  /** Sends one message at a time, to learn which one it is that the server closes for. */
  #careful = false;
  #finishing = false;
  #pumping = false;
  #backoff = new Backoff();
  #blocked = 0;
  #fallbackMs = FALLBACK_MS;
  #renewals = 0;
  #isForeign = false;
  #wake = () => {};
  #grant = () => {};
  #stir = () => document.visibilityState === "visible" && this.#wake();

  constructor({ outbox, on, token, ...to }) {
    this.#to = to;
    this.#on = on;
    this.#outbox = outbox;
    this.#token = token;
  }

  /** Return when `stop` was called. */
  async run() {
    addEventListener("online", this.#stir);
    document.addEventListener("visibilitychange", this.#stir);
    while (!this.isOver) {
      const { ms, firm } = await this.#attempt();
      if (ms > 0 && !this.isOver) this.#on.state("waiting", { retryMs: ms });
      await this.#pause(ms, firm);
    }
    removeEventListener("online", this.#stir);
    document.removeEventListener("visibilitychange", this.#stir);
  }

  stop() {
    this.isOver = true;
    this.#socket?.close();
    this.#wake();
    this.#grant();
  }

  /** No more will be added. */
  finish() {
    this.#finishing = true;
    this.#wake();
  }

  useToken(token) {
    this.#token = token;
    this.#renewals = 0;
    this.#grant();
  }

  /** Send what there is once the page has added all that it has at this moment. */
  pumpSoon() {
    if (this.#pumping) return;
    this.#pumping = true;
    queueMicrotask(() => {
      this.#pumping = false;
      this.#pump();
    });
  }

  #pump() {
    const most = this.#careful ? 1 : FLYING_MESSAGES;
    if (!this.#resumed || this.isOver) return;
    while (this.#outbox.flying < most && this.#outbox.flyingBytes < FLYING_BYTES) {
      const message = this.#outbox.take(this.limits);
      if (message === null) return;
      this.#socket.send(message.text);
    }
  }

  /** Hold one connection until it is lost; returns when to try the next. */
  async #attempt() {
    const { greeted, code, reason } = await this.#converse();
    const retryMs = numberIn(reason, /retry_after_ms=(\d{1,6})\b/);
    if (code === 1000 && reason === "session_ended") this.#on.ended();
    if (this.isOver) return later(0);
    if (code === 1012 && retryMs !== undefined) return later(retryMs, true);
    if (code === 1008) {
      this.#on.problem("flood", "the server has closed because of too many messages that it cannot use");
      return later(FLOOD_PAUSE_MS, true);
    }
    return greeted ? later(this.#backoff.next()) : this.#lookAround();
  }

  async #converse() {
    const { base, sessionId, WebSocket } = this.#to;
    const address = `${base.replace(/^http/, "ws")}/api/v1/session/ws/${sessionId}`;
    const hear = (message) => this.#hear(message);
    this.#socket = new Socket({ WebSocket, address, token: this.#token, patience: this.#patience, hear });
    const ticking = setInterval(() => this.#tick(), TICK_MS);
    const end = await this.#socket.over;
    clearInterval(ticking);
    this.#socket = null;
    this.#resumed = false;
    if (end.code === 1009) this.#makeSmaller();
    this.#outbox.ground();
    return end;
  }

  #tick() {
    if (this.#resumed && this.#outbox.flying === 0) this.#socket.tellClock();
    this.#pump();
  }

  #hear(message) {
    const { type } = message;
    if (type === "resume") this.#resume(message);
    else if (type === "ack") this.#acknowledge(message.seq);
    else if (type === "error") this.#takeError(message);
    else if (type === "clock") this.clock = this.#socket.clock;
    else if (type === "alert") this.#on.alert(message);
    else if (type === "message") this.#on.message(message);
    else if (type === "session_ended") this.#on.ended();
    this.#pump();
  }

  #resume({ last_seq, epoch }) {
    this.#outbox.resume(last_seq, epoch);
    if (!this.#resumed) {
      this.#resumed = true;
      this.#renewals = this.#blocked = 0;
      this.#fallbackMs = FALLBACK_MS;
      this.reconnects += this.#connected;
      this.#connected = true;
      this.#on.state("open", {});
    }
    this.#on.settled();
  }

  #acknowledge(seq) {
    this.#backoff.reset();
    this.#outbox.acknowledge(seq);
    this.#careful &&= this.#outbox.hasDue;
    this.#on.settled();
  }

  #takeError({ code, detail, seq }) {
    this.#on.problem(code, detail);
    if (seq === undefined) return;
    if (code === "seq_conflict") {
      this.#outbox.renumber(seq);
    } else if (code === "too_many_frames") {
      this.limits.frames = numberIn(detail, /at most (\d+)/) ?? Math.ceil(this.limits.frames / 2);
      this.#outbox.refuse(seq, code, { smaller: true });
    } else {
      this.#outbox.refuse(seq, code, { place: numberIn(detail, /^frames\[(\d+)\]/) });
    }
    this.#on.settled();
  }

  /** The server takes no such large message. If only one was on its way, it is known which. */
  #makeSmaller() {
    const message = this.#outbox.onlyFlying;
    this.#careful = true;
    this.#on.problem("too_big", "the server has closed because a message was too large for it");
    if (message === null) return;
    if (message.items.length === 1) this.limits.item = message.bytes - 1;
    else this.limits.bytes = Math.ceil(message.bytes / 2);
    this.#outbox.refuse(message.seq, "too_big", { smaller: true });
  }

  /** No socket opens: find out why. */
  async #lookAround() {
    const { status, body, retryMs } = await this.#to.http.look(this.#token);
    if (this.isOver) return later(0);
    if (status === 401 || status === 403) return this.#renew(status, body.detail);
    if (status === 200 && body.status !== "active") {
      this.#on.ended();
      return later(0);
    }
    if (status === Http.NONE) return this.#lookFromOutside();
    if (status === Http.FOREIGN || status === 429 || status >= 500) return later(Math.max(retryMs, this.#backoff.next()));
    this.#blocked += 1;
    return this.#blocked < BLOCKED_AFTER ? later(this.#backoff.next()) : this.#overRequests();
  }

  async #lookFromOutside() {
    if (!this.#isForeign && (await this.#to.http.isForeign())) {
      this.#isForeign = true;
      this.#on.problem("origin", `the server may have to allow ${location.origin} (ALLOWED_ORIGINS)`);
    }
    return later(this.#backoff.next());
  }

  async #overRequests() {
    const until = performance.now() + this.#fallbackMs;
    this.#fallbackMs = Math.min(2 * this.#fallbackMs, FALLBACK_MOST_MS);
    this.#outbox.begin(undefined);
    this.#on.state("fallback", {});
    while (!this.isOver && performance.now() < until) {
      const message = this.#outbox.take(this.limits);
      if (message === null) {
        await this.#pause(GATHER_MS);
        continue;
      }
      this.clock = (await this.#to.http.tellClock(this.#token)) ?? this.clock;
      const answer = await this.#to.http.post(message, this.#token);
      if (this.isOver) break;
      const { status, body } = answer;
      const { ms, leave } = this.#takeAnswer(message, answer);
      this.#outbox.ground();
      if (status === 401 || status === 403) return this.#renew(status, body.detail);
      if (leave) return later(ms);
      await this.#pause(ms, status !== 202);
    }
    return later(0);
  }

  #takeAnswer({ seq, items }, { status, body, retryMs }) {
    if (status === 202) {
      this.#renewals = 0;
      this.#acknowledge(seq);
      return { ms: this.#finishing || items.length >= MUCH_ITEMS ? 0 : GATHER_MS };
    }
    if (status === 413) this.#makeSmaller();
    else if (status === 400 || body.code === "seq_conflict") {
      this.#takeError({ code: body.code ?? "invalid_message", detail: body.detail ?? "", seq });
    } else if (status === 409) this.#on.ended();
    else {
      if (status === 404) this.#on.problem("unknown_session", body.detail ?? "");
      return { ms: Math.max(retryMs, this.#backoff.next()), leave: status <= 0 || status === 404 };
    }
    return { ms: 0 };
  }

  /** The server does not let this client in: ask the page for a new token, or wait until it has one. */
  async #renew(status, detail = "") {
    this.#on.problem(status === 401 ? "unauthenticated" : "forbidden", detail);
    try {
      const { renewToken } = this.#to;
      const token = this.#renewals < RENEWALS ? await renewToken?.({ status, detail }) : null;
      if (token) {
        this.#renewals += 1;
        this.#token = token;
        return later(0);
      }
    } catch (failure) {
      this.#on.problem("no_token", String(failure));
      return later(this.#backoff.next());
    }
    if (this.isOver) return later(0);
    this.#on.state("refused", { detail });
    await new Promise((resolve) => (this.#grant = resolve));
    return later(0);
  }

  /** Wait for so long, or until the network or the page comes back, unless that is `firm`. */
  async #pause(ms, firm = false) {
    if (this.isOver) return;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => (this.isOver || !firm) && (clearTimeout(timer), resolve());
    });
  }
}

function later(ms, firm = false) {
  return { ms, firm };
}
