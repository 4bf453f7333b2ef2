/**
 * What survives a reload: an outbox in the page's sessionStorage, which no other tab can take for its own.
 *
 * A tab that is duplicated begins with a copy of the sessionStorage. So whoever has an outbox holds a lock of
 * its name (Web Locks), and a copy is told by its lock being held elsewhere. Pages that are not secure have no
 * such locks and no such protection.
 */

const SAVE_SECONDS = 1;
/** Writing the queue may take one of so many parts of the time. */
const SAVE_SHARE = 50;
/** How long a page that is being reloaded may take to let go of its locks. */
const CLAIM_MS = 3000;
/** What other clients of this very page save to. */
const open = new Set();

export class Vault {
  #storage;
  #prefix;
  #key = crypto.getRandomValues(new Uint32Array(2)).join("-");
  #outbox = null;
  #onTrouble;
  #timer = null;
  #isClosed = false;
  #pauseMs = SAVE_SECONDS * 1000;
  #release = () => {};
  #leave = () => this.saveQueue();

  /** `name` is that of the session; `onTrouble(detail)` hears that nothing can be saved. */
  constructor(name, onTrouble) {
    this.#prefix = `proctor-client ${name} `;
    this.#onTrouble = onTrouble;
    try {
      this.#storage = globalThis.sessionStorage;
    } catch (failure) {
      this.#trouble(failure);
    }
  }

  /** Fill the outbox with what an earlier page has left, and save it from now on. */
  async open(outbox) {
    const left = this.#left();
    const released = new Promise((resolve) => (this.#release = resolve));
    let own = null;
    for (const key of left.filter((each) => !open.has(each))) {
      if (await claimed(this.#prefix + key, released)) {
        this.#restore(key, outbox);
        own ??= key;
      }
      if (key !== own) this.#remove(key);
    }
    if (own === null) claimed(this.#prefix + this.#key, released);
    this.#key = own ?? this.#key;
    open.add(this.#key);
    this.#outbox = outbox;
    if (this.#isClosed) {
      this.close({ forget: outbox.isEmpty });
      return;
    }
    this.saveQueue();
    addEventListener("pagehide", this.#leave);
    document.addEventListener("visibilitychange", this.#leave);
  }

  /** Save what is numbered, before it is sent: another page must not number it again. */
  saveNumbered() {
    if (this.#outbox) this.#write("numbered", this.#outbox.numberedState());
  }

  /** Save the queue, too. */
  saveQueue() {
    clearTimeout(this.#timer);
    this.#timer = null;
    if (!this.#outbox || !this.#storage) return;
    const began = performance.now();
    this.#write("queue", this.#outbox.queueState());
    this.saveNumbered();
    this.#pauseMs = Math.max(SAVE_SECONDS * 1000, SAVE_SHARE * (performance.now() - began));
  }

  /** Save the queue soon. */
  saveSoon() {
    if (this.#outbox) this.#timer ??= setTimeout(() => this.saveQueue(), this.#pauseMs);
  }

  /** Save for the last time, and let another client have it; or forget what was saved. */
  close({ forget }) {
    this.#isClosed = true;
    if (!this.#outbox) return;
    if (forget) {
      // The lock stays, for a copy may be waiting for it, which has what is forgotten here.
      this.#remove(this.#key);
    } else {
      this.saveQueue();
      this.#release();
    }
    open.delete(this.#key);
    clearTimeout(this.#timer);
    this.#outbox = null;
    removeEventListener("pagehide", this.#leave);
    document.removeEventListener("visibilitychange", this.#leave);
  }

  #left() {
    if (!this.#storage) return [];
    const keys = Object.keys(this.#storage).filter((key) => key.startsWith(this.#prefix));
    return [...new Set(keys.map((key) => key.slice(this.#prefix.length).split(" ")[0]))];
  }

  #restore(key, outbox) {
    const read = (part) => JSON.parse(this.#storage.getItem(`${this.#prefix}${key} ${part}`));
    const none = { messages: [], next: null, queue: 0, taken: 0 };
    try {
      outbox.restore(read("numbered") ?? none, read("queue") ?? { queue: 0, items: [] });
    } catch (failure) {
      this.#trouble(failure);
    }
  }

  #write(part, text) {
    try {
      this.#storage?.setItem(`${this.#prefix}${this.#key} ${part}`, text);
    } catch (failure) {
      // What was saved before, or half of it, would be sent again under other numbers.
      this.#remove(this.#key);
      this.#trouble(failure);
    }
  }

  #remove(key) {
    for (const part of ["numbered", "queue"]) this.#storage?.removeItem(`${this.#prefix}${key} ${part}`);
  }

  #trouble(failure) {
    this.#onTrouble(`what is not acknowledged would not survive a reload: ${failure.message}`);
    this.#onTrouble = () => {};
  }
}

/** Hold the lock `name` until `released`; return whether it was to be had. */
async function claimed(name, released) {
  if (!navigator.locks) return true;
  return new Promise((resolve) => {
    const hold = () => (resolve(true), released);
    const signal = AbortSignal.timeout(CLAIM_MS);
    navigator.locks.request(name, { signal }, hold).catch(() => resolve(false));
  });
}
