/**
 * Items and messages, as text.
 *
 * An item is one feature frame or event, `{text, bytes, event, alone}`: `text` is the JSON of the message that
 * it would be by itself, and `alone` forbids to send it in one message with others. A message is
 * `{seq, items, text, bytes, copies, due}`: `copies` are those that were sent on the present connection and
 * are not answered, and `due` says that another is to be sent.
 */

/** Numbers from here on are drawn by chance, where 1, 2, 3 … turned out to be taken by somebody else. */
export const DRAWN = 2 ** 40;
const encoder = new TextEncoder();

/** Return such a number, from which to number on. */
export function drawn() {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  return DRAWN + (high % 2 ** 11) * 2 ** 32 + low;
}

/** Return the text of a feature frame, of now unless it says when. Throws what JSON cannot express. */
export function frameText(features) {
  const stamped = features.timestamp == null && features.ts == null;
  const body = stamped ? { ...features, timestamp: Date.now() } : features;
  return JSON.stringify({ extracted_features: body });
}

/** The same for an event of the engine. */
export function eventText(event) {
  const stamped = event.ts == null && event.timestamp == null;
  return JSON.stringify({ type: "event", event: stamped ? { ...event, ts: Date.now() } : event });
}

/** Return the size of a text in UTF-8, in bytes. */
export function sizeOf(text) {
  return encoder.encode(text).byteLength;
}

export function itemOf(text) {
  return { text, bytes: sizeOf(text), event: text.startsWith('{"type":"event"'), alone: false };
}

/** Return the item whose text was parsed to this value. */
export function writtenItem(value) {
  return itemOf(JSON.stringify(value));
}

export function messageOf(seq, items) {
  const together = () => `"type":"batch","frames":[${items.map((item) => item.text)}]}`;
  const body = items.length === 1 ? items[0].text.slice(1) : together();
  return { seq, items, text: `{"seq":${seq},${body}`, bytes: bytesOf(items), copies: 0, due: false };
}

/** Return a message as JSON from which `messageOf` can make it again. */
export function writtenMessage({ seq, items }) {
  return `{"seq":${seq},"items":[${items.map((item) => item.text)}]}`;
}

/** Return how large items or messages are together. */
export function bytesOf(things) {
  return things.reduce((size, thing) => size + thing.bytes, 0);
}

/** Return how many of the items are frames, and how many events. */
export function count(items) {
  const events = items.filter((item) => item.event).length;
  return { frames: items.length - events, events };
}

/** Add two such counts, or subtract the other one with the `sign` -1. */
export function sum(one, other, sign = 1) {
  return { frames: one.frames + sign * other.frames, events: one.events + sign * other.events };
}

/** Return the number that a pattern finds in what a server says. */
export function numberIn(text, pattern) {
  const found = pattern.exec(text);
  return found ? Number(found[1]) : undefined;
}
