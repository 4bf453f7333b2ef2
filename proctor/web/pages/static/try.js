// The page /try: a simulated candidate, the client that streams them, and the report as it grows.

import { connect } from "/proctor-client.js";
import { watchBrowser } from "/proctor-telemetry.js";
import { duration, element, fill, ownPage, texts, timeOf } from "./common.js";
import { Cable } from "./try-cable.js";
import { ACTS, Person } from "./try-person.js";

const FRAME_MS = 200;
const SHOW_MS = 250;
const REPORT_MS = 2_000;
const LOG_LINES = 200;
const KEPT = "proctor-try session";

const page = Object.fromEntries([...document.querySelectorAll("[id]")].map((each) => [each.id, each]));
const person = new Person();
const cable = new Cable();
let client = null;
let sessionId = "";
let timers = [];
let stopWatching = () => {};

/** Set a text, unless it is there already: what does not change is not read aloud again. */
function show(place, text) {
  if (place.textContent !== String(text)) place.textContent = text;
}

function log(text, facts = {}) {
  page.log.prepend(element("li", {}, element("time", {}, timeOf(Date.now())), ` ${fill(text, facts)}`));
  while (page.log.children.length > LOG_LINES) page.log.lastChild.remove();
}

function begin(id, token) {
  sessionId = id;
  sessionStorage.setItem(KEPT, id);
  page.watch.href = `/session/${id}`;
  client = connect({
    sessionId,
    token: token || null,
    WebSocket: cable.WebSocket,
    fetch: cable.fetch,
    onState: enter,
    onLoss: (loss) => log(texts.loss, loss),
    onProblem: (problem) => log(texts.problem, problem),
    onAlert: (alert) => log(texts.alert, alert),
    onMessage: (message) => log(texts.message, message),
  });
  enter({ state: "connecting" });
  stopWatching = watchBrowser({ sendEvent: reportForReal });
  timers = [
    setInterval(() => client.send(person.look()), FRAME_MS),
    setInterval(showStatus, SHOW_MS),
    setInterval(askReport, REPORT_MS),
  ];
  page.unplug.disabled = page.end.disabled = false;
  page.start.hidden = true;
}

function reportForReal(event) {
  log(texts.browser, event);
  return client.sendEvent(event);
}

function enter({ state }) {
  page.line.dataset.state = state;
  show(page.line, texts.state[state]);
  if (state === "refused") askForToken();
  if (state === "ended") finish();
}

/** The session has ended: its report stays on the page. */
function finish() {
  for (const timer of timers) clearInterval(timer);
  stopWatching();
  showStatus();
  askReport();
  sessionStorage.removeItem(KEPT);
  page.unplug.disabled = true;
  page.end.disabled = false;
  show(page.end, texts.new_session);
}

function showStatus() {
  const { acknowledged, unsent, lost, reconnects, roundTripMs, clockOffsetMs } = client.status;
  const milliseconds = (value) => (value === null ? "–" : `${value.toLocaleString()} ms`);
  show(page.acknowledged, acknowledged.toLocaleString());
  show(page.unsent, unsent.toLocaleString());
  show(page.lost, (lost.frames + lost.events).toLocaleString());
  show(page.reconnects, reconnects.toLocaleString());
  show(page.trip, milliseconds(roundTripMs));
  show(page.offset, milliseconds(clockOffsetMs));
}

async function askReport() {
  try {
    const answer = await cable.fetch(`/api/v1/session/${sessionId}/analyze`, { method: "POST", headers: ownPage });
    if (answer.ok) showReport(await answer.json());
    else if (answer.status === 401 || answer.status === 403) {
      show(page.note, texts.note.staff);
      show(page.watch, texts.staff);
    }
  } catch {
    show(page.note, texts.note.offline);
  }
}

function showReport({ session_info: info, verdict, findings }) {
  page.priority.className = `badge ${verdict.review_priority}`;
  show(page.priority, texts.priority[verdict.review_priority]);
  page.score.value = verdict.score ?? 0;
  show(page.points, verdict.score ?? "–");
  const early = verdict.review_priority === "insufficient" ? texts.note.insufficient : texts.note.open;
  show(page.note, info.final ? texts.note.final : early);
  show(page.basis, verdict.verdict_basis);
  const lines = findings.map(({ start_seconds, end_seconds, level, message }) =>
    element(
      "li",
      {},
      element("time", {}, `${duration(start_seconds)}–${duration(end_seconds)}`),
      " ",
      element("span", { class: level }, texts.level[level]),
      ` ${message}`,
    ),
  );
  const nothing = element("li", { class: "muted" }, texts.no_findings);
  page.findings.replaceChildren(...(lines.length ? lines.reverse() : [nothing]));
}

/** Show the field for a token, and go on with what is written there. */
function askForToken() {
  page["token-field"].hidden = page.start.hidden = false;
  page.session.readOnly = client !== null;
  page.token.required = true;
  page.token.focus();
}

function act(button) {
  const name = button.dataset.act;
  const does = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(does));
  log((does ? texts.begins : texts.stops)[name]);
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
  const answer = await cable.fetch(`/api/v1/session/${sessionId}/end`, { method: "POST", headers: ownPage }).catch(() => null);
  if (answer?.ok) return;
  page.end.disabled = false;
  log(answer === null ? texts.note.offline : texts.cannot_end);
}

for (const button of document.querySelectorAll("[data-act]")) {
  button.addEventListener("click", () => act(button));
}
page.unplug.addEventListener("click", () => {
  cable.plugged = !cable.plugged;
  page.unplug.setAttribute("aria-pressed", String(!cable.plugged));
  log(cable.plugged ? texts.plugged : texts.unplugged);
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
