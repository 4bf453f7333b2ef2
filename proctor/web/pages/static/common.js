// What the scripts of all pages share: their texts, times in the reader's zone, and calls to the server.

const given = document.getElementById("texts");
export const texts = given ? JSON.parse(given.textContent) : {};
const language = document.documentElement.lang;

/** Put values into a text: `fill("{n} sessions", {n: 3})`. */
export function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

const clock = new Intl.DateTimeFormat(language, { timeStyle: "medium" });
const dateAndTime = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" });

/** A time of day, of milliseconds since the epoch. */
export const timeOf = (ms) => clock.format(ms);
/** A day and a time of day. */
export const dateOf = (ms) => dateAndTime.format(ms);

/** Seconds as m:ss or h:mm:ss. */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const two = (n) => String(n).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** Make an element. Texts become text, whatever they hold; attributes that are null or false are left out. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Make an element of a drawing. */
export function drawn(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** What shows the server that a request which changes something comes from its own page. */
export const ownPage = { "X-CSRF-Token": document.querySelector('meta[name="csrf-token"]')?.content ?? "" };

/** Call the server. Returns what it answers as JSON, or null; throws an Error that says why not, with its `problem`,
 * and when to try again, if it says so. */
export async function call(method, path, body) {
  const headers = { Accept: "application/json", ...ownPage };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const text = await answer.text();
  if (answer.ok) return text ? JSON.parse(text) : null;
  let problem = {};
  try {
    problem = JSON.parse(text);
  } catch {
    // Something in between answered, and not in JSON.
  }
  const detail = problem.detail ?? (answer.statusText || String(answer.status));
  const retryAfterSeconds = Number(answer.headers.get("Retry-After")) || null;
  throw Object.assign(new Error(detail), { status: answer.status, problem, retryAfterSeconds });
}

const RECONNECT_FIRST_MS = 500;
const RECONNECT_MAX_MS = 15000;
const SILENT_MS = 30000; // of a connection that is told every ten seconds that there is no news, and so is dead
const SIGNED_OUT = 3000;

/** Keep a WebSocket to `path` open: `take` gets each message, `changed` whether there is a connection. Who may not
 * see it any more is led to sign in. */
export function follow(path, take, changed) {
  let waits = RECONNECT_FIRST_MS;
  const open = () => {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`);
    const lose = ({ code }) => {
      socket.onmessage = socket.onclose = null;
      clearTimeout(silence);
      socket.close();
      changed(false);
      if (code === SIGNED_OUT) location.reload();
      // With chance in it, so that a hall full of pages does not come back at once.
      else setTimeout(open, waits * (0.5 + Math.random()));
      waits = Math.min(RECONNECT_MAX_MS, waits * 2);
    };
    let silence = setTimeout(lose, SILENT_MS, {});
    socket.onmessage = (event) => {
      clearTimeout(silence);
      silence = setTimeout(lose, SILENT_MS, {});
      waits = RECONNECT_FIRST_MS;
      changed(true);
      take(JSON.parse(event.data));
    };
    socket.onclose = lose;
  };
  open();
}
