/**
 * What has to be kept until the server says that it is stored. No input or output.
 *
 * Items (feature frames and events) wait in a queue until they are sent. A message takes some of them, gets a
 * number and never changes from then on, so that the server can tell a repetition. What was acknowledged is
 * remembered for a while, for a server whose store loses it.
 */

import { bytesOf, count, DRAWN, drawn, itemOf, messageOf, sum } from "./proctor-messages.js";
import { writtenItem, writtenMessage } from "./proctor-messages.js";

const REMEMBERED_BYTES = 2 ** 20;
/** A queue that was full is thinned to this part of what it may be. */
const THINNED = 0.75;

export class Outbox {
  /** Name of the store's content, as the server said last. */
  epoch = null;
  #queue = [];
  #queueBytes = 0;
  /** How many items were queued, and of how many frames one was left when the queue was thinned last. */
  #queued = 0;
  #stride = 1;
  /** Numbered messages to send next. */
  #due = [];
  /** By number, messages that were sent on this connection and not answered. */
  #flying = new Map();
  #flyingBytes = 0;
  /** What the server has acknowledged, and the latest messages of that, oldest first. */
  #stored = { frames: 0, events: 0 };
  #remembered = [];
  #rememberedBytes = 0;
  /** The next number; null until the server has said which are taken. */
  #next = null;
  /** Where the present numbers began. */
  #first = 0;
  /** Numbers of refused messages, under which nothing is stored. */
  #free = [];
  /** The server has said that it has all up to this number, and of later ones those in `#beyond`. */
  #confirmed = 0;
  #beyond = new Set();
  /** Which state of the queue was saved last, and how many items have left its front since. */
  #saved = 0;
  #taken = 0;
  #maxBytes;
  #on;

  /**
   * `maxBytes` bounds the queue. `on.loss({reason, frames, events})` hears what is given up, `on.numbered()`
   * that a message has got its number, and `on.rearranged()` that the queue has changed within.
   */
  constructor(maxBytes, on) {
    this.#maxBytes = maxBytes;
    this.#on = on;
  }

  /** Frames and events that the server has. */
  get acknowledged() {
    return this.#stored.frames + this.#stored.events;
  }

  get flying() {
    return this.#flying.size;
  }

  get flyingBytes() {
    return this.#flyingBytes;
  }

  /** The message on its way if that is exactly one, else null. */
  get onlyFlying() {
    return this.#flying.size === 1 ? this.#flying.values().next().value : null;
  }

  get hasDue() {
    return this.#due.length > 0;
  }

  get isEmpty() {
    return !(this.#queue.length || this.#due.length || this.#flying.size);
  }

  /** Frames and events that are not acknowledged. */
  get unsent() {
    return this.#numbered().reduce((sum, message) => sum + message.items.length, this.#queue.length);
  }

  /** Queue an item: the JSON of the message that it would be alone. */
  add(text) {
    this.#enqueue([itemOf(text)], this.#queue.length);
    if (this.#queueBytes > this.#maxBytes) {
      this.#thin();
      this.#on.rearranged();
    }
  }

  /** Begin to number after `lastSeq` (null: at 1; undefined: by chance), unless that was begun before. */
  begin(lastSeq) {
    this.#next ??= lastSeq === undefined ? drawn() : (lastSeq ?? 0) + 1;
  }

  /** Return the message to send next, a new one of at most so many items and bytes; null if there is none. */
  take(limits) {
    let message = this.#due.shift();
    if (!message) {
      if (!this.#queue.length) return null;
      message = messageOf(this.#free.shift() ?? this.#next++, this.#cut(limits));
    }
    message.due = false;
    message.copies += 1;
    if (!this.#flying.has(message.seq)) this.#flyingBytes += message.bytes;
    this.#flying.set(message.seq, message);
    this.#on.numbered();
    return message;
  }

  /** Let go of a message that is stored. It is, once every copy that this connection sent is acknowledged. */
  acknowledge(seq) {
    const message = this.#flying.get(seq);
    if (!message || --message.copies > 0 || message.due) return;
    this.#land(message);
    this.#stored = sum(this.#stored, count(message.items));
    if (seq < DRAWN) {
      this.#beyond.add(seq);
      while (this.#beyond.delete(this.#confirmed + 1)) this.#confirmed += 1;
    }
    this.#remembered.push(message);
    this.#rememberedBytes += message.bytes;
    while (this.#rememberedBytes > REMEMBERED_BYTES) this.#rememberedBytes -= this.#remembered.shift().bytes;
  }

  /** Take back a message whose number is somebody else's: it and later ones get numbers by chance. */
  renumber(seq) {
    const message = this.#flying.get(seq);
    if (!message) return;
    if (seq >= this.#first) {
      this.#first = this.#next = drawn();
      this.#free = [];
    }
    this.#takeBack(message);
  }

  /**
   * Take back a message of which the server stored nothing, and give up the item at fault: that at `place`, or
   * the only one. Without a `place` its items are tried one by one, or in `smaller` messages.
   */
  refuse(seq, reason, { place, smaller = false } = {}) {
    const message = this.#flying.get(seq);
    if (!message) return;
    const only = message.items.length === 1 ? 0 : smaller ? undefined : place;
    const lost = only === undefined ? [] : message.items.splice(only, 1);
    if (only === undefined && !smaller) for (const item of message.items) item.alone = true;
    this.#free.push(seq);
    this.#takeBack(message);
    if (lost.length) this.#on.loss({ reason, ...count(lost) });
  }

  /** The connection is lost: what was not answered on it is due again. */
  ground() {
    this.#due = this.#numbered();
    for (const message of this.#due) Object.assign(message, { copies: 0, due: true });
    this.#flying.clear();
    this.#flyingBytes = 0;
  }

  /** The server says what its store has: what it had and has no more is due again. */
  resume(lastSeq, epoch) {
    const emptied = this.epoch !== null && epoch !== this.epoch;
    const stored = lastSeq ?? 0;
    if (emptied || (this.#next !== null && stored < this.#confirmed)) {
      this.#repeat(emptied ? 0 : stored + 1, emptied);
    }
    this.epoch = epoch;
    this.#confirmed = stored;
    this.begin(lastSeq);
  }

  /** Give up everything; returns how many frames and events that is. */
  clear() {
    const given = count([...this.#numbered().flatMap((message) => message.items), ...this.#queue]);
    this.#queue = [];
    this.#due = [];
    this.#flying.clear();
    this.#queueBytes = this.#flyingBytes = 0;
    return given;
  }

  /** Return as JSON all that is numbered, and how many items of the saved queue that are. */
  numberedState() {
    const rest = {
      epoch: this.epoch,
      stored: this.#stored,
      next: this.#next,
      free: this.#free,
      confirmed: this.#confirmed,
      queue: this.#saved,
      taken: this.#taken,
    };
    return `{"messages":[${this.#numbered().map(writtenMessage)}],${JSON.stringify(rest).slice(1)}`;
  }

  /** Return the queue as JSON. It counts as saved with that, so `numberedState` has to be saved after it. */
  queueState() {
    this.#saved += 1;
    this.#taken = 0;
    return `{"queue":${this.#saved},"items":[${this.#queue.map((item) => item.text)}]}`;
  }

  /** Take over what another page had and, unless this one has begun, number from where that was. */
  restore(numbered, queue) {
    if (this.#next === null && numbered.next !== null) {
      this.epoch = numbered.epoch;
      this.#stored = numbered.stored;
      this.#next = numbered.next;
      this.#free = numbered.free;
      this.#confirmed = numbered.confirmed;
    }
    for (const { seq, items } of numbered.messages) {
      this.#due.push({ ...messageOf(seq, items.map(writtenItem)), due: true });
    }
    const items = queue.items.slice(queue.queue === numbered.queue ? numbered.taken : 0).map(writtenItem);
    this.#enqueue(items, 0);
  }

  #enqueue(items, place) {
    for (const item of items) item.place = this.#queued++;
    this.#queue.splice(place, 0, ...items);
    this.#queueBytes += bytesOf(items);
  }

  #numbered() {
    return [...new Set([...this.#flying.values(), ...this.#due])];
  }

  #cut({ frames, bytes }) {
    let size = 0;
    let end = 0;
    for (const item of this.#queue) {
      size += item.bytes + 1;
      if (end > 0 && (end === frames || size > bytes || item.alone)) break;
      end += 1;
      if (item.alone) break;
    }
    const items = this.#queue.splice(0, end);
    this.#queueBytes -= bytesOf(items);
    this.#taken += end;
    if (!this.#queue.length) this.#stride = 1;
    return items;
  }

  /**
   * Drop every second frame from the oldest on, until a quarter is free; if that is not enough, every second of
   * those that are left, so that they stay spread over all of the time. Events only when no frame is left.
   */
  #thin() {
    const lost = new Set();
    const over = () => this.#queueBytes > THINNED * this.#maxBytes;
    const drop = (item) => {
      lost.add(item);
      this.#queueBytes -= item.bytes;
    };
    for (; over() && this.#stride <= 2 * this.#queued; this.#stride *= 2) {
      for (const item of this.#queue) {
        if (over() && !item.event && !lost.has(item) && item.place % (2 * this.#stride) !== 0) drop(item);
      }
      if (!over()) break;
    }
    for (const item of this.#queue) if (over() && !lost.has(item) && item !== this.#queue.at(-1)) drop(item);
    this.#queue = this.#queue.filter((item) => !lost.has(item));
    this.#on.loss({ reason: "full", ...count([...lost]) });
  }

  #land(message) {
    this.#flying.delete(message.seq);
    this.#flyingBytes -= message.bytes;
  }

  #takeBack(message) {
    this.#land(message);
    this.#due = this.#due.filter((each) => each !== message);
    this.#queue.unshift(...message.items);
    this.#queueBytes += bytesOf(message.items);
    this.#on.rearranged();
  }

  #repeat(from, emptied) {
    const again = this.#remembered.filter((message) => message.seq >= from);
    const confirmed = again.filter((message) => message.seq <= this.#confirmed).length;
    const left = sum(this.#stored, count(again.flatMap((message) => message.items)), -1);
    // Of a message that is neither stored nor remembered, only that it had at least one frame is known.
    const gone = emptied ? left : { frames: this.#confirmed - from + 1 - confirmed, events: 0 };
    this.#stored = emptied ? { frames: 0, events: 0 } : left;
    this.#remembered = this.#remembered.filter((message) => message.seq < from);
    this.#rememberedBytes = bytesOf(this.#remembered);
    this.#beyond.clear();
    this.#due = [...new Set([...again, ...this.#flying.values(), ...this.#due])];
    for (const message of this.#due) message.due = true;
    if (gone.frames > 0 || gone.events > 0) this.#on.loss({ reason: "store", ...gone });
  }
}
