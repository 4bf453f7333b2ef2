/** The page /try: a simulated candidate, the client that streams them, and the report as it grows. */

import { connect } from "./proctor-client.js";
import { watchBrowser } from "./proctor-telemetry.js";
import { Cable } from "./try-cable.js";
import { ACTS, Person } from "./try-person.js";

const FRAME_MS = 200;
const SHOW_MS = 250;
const REPORT_MS = 2_000;
const LOG_LINES = 200;
const KEPT = "proctor-try session";

const texts = Object.fromEntries(
  [...document.querySelector("#texts").content.querySelectorAll("[data-text]")].map((each) => [
    each.dataset.text,
    each.textContent,
  ]),
);
const page = Object.fromEntries([...document.querySelectorAll("[id]")].map((each) => [each.id, each]));
const person = new Person();
const cable = new Cable();
let client = null;
let timers = [];
let stopWatching = () => {};

/** Return a text with its `{names}` filled in. */
function say(name, facts = {}) {
  return (texts[name] ?? name).replace(/\{(\w+)\}/g, (_, key) => facts[key] ?? "");
}

/** Set a text, unless it is there already: what does not change is not read aloud again. */
function show(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

function clockOf(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

function line(...parts) {
  const item = document.createElement("li");
  item.append(...parts);
  return item;
}

function log(name, facts) {
  const time = document.createElement("time");
  time.textContent = new Date().toLocaleTimeString();
  page.log.prepend(line(time, ` ${say(name, facts)}`));
  while (page.log.children.length > LOG_LINES) page.log.lastChild.remove();
}

function begin(sessionId, token) {
  sessionStorage.setItem(KEPT, sessionId);
  client = connect({
    sessionId,
    token: token || null,
    WebSocket: cable.WebSocket,
    fetch: cable.fetch,
    onState: enter,
    onLoss: (loss) => log("loss", loss),
    onProblem: (problem) => log("problem", problem),
    onAlert: (alert) => log("alert", alert),
    onMessage: (message) => log("message", message),
  });
  enter({ state: "connecting" });
  stopWatching = watchBrowser({
    sendEvent: (event) => {
      log("browser", event);
      return client.sendEvent(event);
    },
  });
  timers = [
    setInterval(() => client.send(person.look()), FRAME_MS),
    setInterval(showStatus, SHOW_MS),
    setInterval(() => askReport(sessionId), REPORT_MS),
  ];
  for (const each of [page.unplug, page.end]) each.disabled = false;
  page.start.hidden = true;
}

function enter({ state }) {
  page.state.dataset.state = state;
  show(page.state, say(`state-${state}`));
  if (state === "refused") askForToken();
  if (state === "ended") finish();
}

/** The session has ended: its report stays on the page. */
function finish() {
  for (const timer of timers) clearInterval(timer);
  stopWatching();
  showStatus();
  askReport(sessionStorage.getItem(KEPT));
  sessionStorage.removeItem(KEPT);
  page.unplug.disabled = true;
  page.end.disabled = false;
  show(page.end, say("new-session"));
}

function showStatus() {
  const { acknowledged, unsent, lost, reconnects, roundTripMs, clockOffsetMs } = client.status;
  const number = (value) => value.toLocaleString();
  const milliseconds = (value) => (value === null ? "–" : `${number(value)} ms`);
  show(page.acknowledged, number(acknowledged));
  show(page.unsent, number(unsent));
  show(page.lost, number(lost.frames + lost.events));
  show(page.reconnects, number(reconnects));
  show(page.trip, milliseconds(roundTripMs));
  show(page.offset, milliseconds(clockOffsetMs));
}

async function askReport(sessionId) {
  try {
    const answer = await cable.fetch(`/api/v1/session/${sessionId}/analyze`, { method: "POST" });
    if (answer.ok) showReport(await answer.json());
    else if (answer.status === 401 || answer.status === 403) show(page.note, say("note-staff"));
  } catch {
    show(page.note, say("note-offline"));
  }
}

function showReport({ session_info: info, verdict, findings }) {
  page.verdict.dataset.priority = verdict.review_priority;
  show(page.verdict, say(`priority-${verdict.review_priority}`));
  page.score.value = verdict.score ?? 0;
  show(page["score-value"], verdict.score ?? "–");
  const insufficient = verdict.review_priority === "insufficient" ? "note-insufficient" : "note-open";
  show(page.note, say(info.final ? "note-final" : insufficient));
  show(page.basis, verdict.verdict_basis);
  const lines = findings.map((finding) => {
    const [time, level] = [document.createElement("time"), document.createElement("span")];
    time.textContent = `${clockOf(finding.start_seconds)}–${clockOf(finding.end_seconds)}`;
    level.textContent = say(`level-${finding.level}`);
    level.className = "level";
    const item = line(time, " ", level, ` ${finding.message}`);
    item.className = finding.level;
    return item;
  });
  const nothing = line(say("no-findings"));
  nothing.className = "hint";
  page.findings.replaceChildren(...(lines.length ? lines.reverse() : [nothing]));
}

/** Show the field for a token, and go on with what is written there. */
function askForToken() {
  page["token-field"].hidden = false;
  page.start.hidden = false;
  page.session.readOnly = client !== null;
  page.token.required = true;
  page.token.focus();
}

function act(button) {
  const name = button.dataset.act;
  const does = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(does));
  log(`${does ? "begins" : "stops"}-${name}`);
  if (ACTS.includes(name)) person.set(name, does);
  else report(does ? "TAB_SWITCHED" : "TAB_RETURNED", does ? 10 : 2);
  page["draw-person"].classList.toggle("gone", person.acts.has("gone"));
  page["draw-eyes"].classList.toggle("away", person.acts.has("away"));
  page["draw-other"].classList.toggle("there", person.acts.has("other"));
  page["draw-phone"].classList.toggle("there", person.acts.has("phone"));
}

function report(event, lv) {
  client?.sendEvent({ event, lv, ts: Date.now(), source: "browser" });
}

async function end() {
  if (client.status.state === "ended") {
    location.reload();
    return;
  }
  page.end.disabled = true;
  const path = `/api/v1/session/${sessionStorage.getItem(KEPT)}/end`;
  const answer = await cable.fetch(path, { method: "POST" }).catch(() => null);
  if (answer?.ok) return;
  page.end.disabled = false;
  log(answer === null ? "note-offline" : "cannot-end");
}

for (const button of document.querySelectorAll("[data-act]")) {
  button.addEventListener("click", () => act(button));
}
page.unplug.addEventListener("click", () => {
  cable.plugged = !cable.plugged;
  page.unplug.setAttribute("aria-pressed", String(!cable.plugged));
  log(cable.plugged ? "plugged" : "unplugged");
  if (cable.plugged) dispatchEvent(new Event("online"));
});
page.end.addEventListener("click", end);
page.start.addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  if (client === null) {
    begin(page.session.value, page.token.value);
  } else {
    page.start.hidden = true;
    client.useToken(page.token.value);
  }
});

// A reload goes on with its session, as an exam's page does.
const kept = sessionStorage.getItem(KEPT);
page.session.value = kept ?? `try-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`;
const asked = await fetch("/api/v1/session?limit=1").catch(() => null);
if (asked?.status === 401) askForToken();
else if (kept !== null) begin(kept, null);
