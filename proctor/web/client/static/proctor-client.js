/**
 * Proctor's client for browsers: streams features and events to a server, and loses nothing that it can keep.
 *
 * What is sent is kept until the server has acknowledged it, over lost connections and reloads of the page.
 * proctor-client.d.ts says what there is. proctor-outbox.js keeps, proctor-vault.js keeps through a reload,
 * proctor-stream.js connects and proctor-links.js sends.
 */

import { Http } from "./proctor-links.js";
import { eventText, frameText, sizeOf } from "./proctor-messages.js";
import { Outbox } from "./proctor-outbox.js";
import { Stream } from "./proctor-stream.js";
import { Vault } from "./proctor-vault.js";

const BUFFER_BYTES = 2 * 2 ** 20;
const END_SECONDS = 15;
const CALLBACKS = ["onState", "onAlert", "onMessage", "onProblem", "onLoss", "onEnd", "renewToken"];
const OPTIONS = new Set([...CALLBACKS, "url", "sessionId", "token", "bufferBytes", "WebSocket", "fetch"]);
const SESSION_ID = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$/;

/** Begin to stream to a session. */
export function connect(options) {
  return new Client(options);
}

class Client {
  #options;
  #outbox;
  #vault;
  #stream;
  #state = "connecting";
  #lost = { frames: 0, events: 0 };
  /** Fulfilled when the client is closed; until `end` or `close` is called nobody waits for it. */
  #closed;
  #close;
  #ending = false;
  /** What an earlier page has left is here. */
  #ready = false;

  constructor(options) {
    checkOptions(options);
    const { url = location.origin, sessionId, bufferBytes = BUFFER_BYTES } = options;
    this.#options = options;
    this.#closed = new Promise((resolve) => (this.#close = resolve));
    const base = baseOf(url);
    this.#vault = new Vault(`${base} ${sessionId}`, (detail) => this.#problem("not_saved", detail));
    this.#outbox = new Outbox(bufferBytes, {
      loss: (loss) => this.#lose(loss),
      numbered: () => this.#vault.saveNumbered(),
      rearranged: () => this.#vault.saveQueue(),
    });
    const { fetch = (...request) => globalThis.fetch(...request) } = options;
    this.#stream = new Stream({
      base,
      sessionId,
      token: options.token,
      renewToken: options.renewToken,
      WebSocket: options.WebSocket ?? globalThis.WebSocket,
      http: new Http({ fetch, base, sessionId }),
      outbox: this.#outbox,
      on: {
        state: (state, details) => this.#enter(state, details),
        settled: () => this.#settle(),
        problem: (code, detail) => this.#problem(code, detail),
        alert: (alert) => this.#tell("onAlert", alert),
        message: (message) => this.#tell("onMessage", message),
        ended: () => this.#sessionEnded(),
      },
    });
    this.#run();
  }

  get status() {
    const { unsent, flying, acknowledged } = this.#outbox;
    const { reconnects, clock } = this.#stream;
    const sent = { unsent, flying, acknowledged, lost: { ...this.#lost }, reconnects };
    const times = { clockOffsetMs: clock?.offsetMs ?? null, roundTripMs: clock?.roundTripMs ?? null };
    return { state: this.#state, ...sent, ...times };
  }

  send(features) {
    return this.#add(features, frameText);
  }

  sendEvent(event) {
    return this.#add(event, eventText);
  }

  useToken(token) {
    this.#stream.useToken(token);
  }

  end({ seconds = END_SECONDS } = {}) {
    if (!this.#ending) {
      this.#ending = true;
      const timer = setTimeout(() => this.close(), 1000 * seconds);
      this.#closed.then(() => clearTimeout(timer));
      if (this.#state === "refused") this.close();
      this.#stream.finish();
      this.#settle();
    }
    return this.#closed;
  }

  close() {
    this.#stop("closed");
  }

  async #run() {
    await this.#vault.open(this.#outbox);
    this.#ready = true;
    this.#settle();
    await this.#stream.run();
  }

  #add(content, textOf) {
    if (this.#ending || this.#stream.isOver) return false;
    let text;
    try {
      text = textOf(Object(content));
    } catch (failure) {
      this.#problem("invalid_json", failure.message);
      return false;
    }
    if (sizeOf(text) > this.#stream.limits.item) {
      const isEvent = textOf === eventText;
      this.#lose({ reason: "too_big", frames: isEvent ? 0 : 1, events: isEvent ? 1 : 0 });
      return false;
    }
    this.#outbox.add(text);
    this.#vault.saveSoon();
    this.#stream.pumpSoon();
    return true;
  }

  #settle() {
    if (this.#ending && this.#ready && this.#outbox.isEmpty) this.close();
  }

  #sessionEnded() {
    if (this.#stream.isOver) return;
    const unsent = this.#outbox.clear();
    if (unsent.frames + unsent.events) this.#lose({ reason: "ended", ...unsent });
    this.#stop("ended");
    this.#tell("onEnd", unsent);
  }

  #stop(state) {
    if (this.#stream.isOver) return;
    this.#stream.stop();
    this.#vault.close({ forget: this.#outbox.isEmpty });
    this.#enter(state, {});
    this.#close({ unsent: this.#outbox.unsent });
  }

  #enter(state, details) {
    this.#state = state;
    this.#tell("onState", { state, ...details });
  }

  #lose(loss) {
    this.#lost.frames += loss.frames;
    this.#lost.events += loss.events;
    this.#tell("onLoss", loss);
  }

  #problem(code, detail) {
    this.#tell("onProblem", { code, detail });
  }

  /** Whatever a page does with what it is told, streaming goes on. */
  #tell(callback, fact) {
    try {
      this.#options[callback]?.(fact);
    } catch (failure) {
      reportError(failure);
    }
  }
}

function checkOptions(options) {
  const unknown = Object.keys(options).filter((name) => !OPTIONS.has(name));
  if (unknown.length) throw new TypeError(`connect: there is no option ${unknown.join(", ")}`);
  if (!SESSION_ID.test(options.sessionId)) {
    throw new TypeError("connect: sessionId has to be at most 128 letters, digits, '.', '_' and '-'");
  }
  for (const name of CALLBACKS) {
    if (options[name] != null && typeof options[name] !== "function") {
      throw new TypeError(`connect: ${name} has to be a function`);
    }
  }
}

/** Return a server's address, given that, or a page or a session's WebSocket of it. */
function baseOf(url) {
  const { origin, pathname } = new URL(url.replace(/^ws/, "http"), location.href);
  return origin + pathname.replace(/\/api\/v1\/session\/ws\/[^/]*$/, "").replace(/\/$/, "");
}
