// The monitor: one row per session, kept in the order in which proctors should look at them.

import { endSession, writeTo } from "./acts.js";
import { drawn, element, fill, follow, texts, timeOf } from "./common.js";
import { Places } from "./places.js";

const RANK = { high: 0, medium: 1, insufficient: 3, low: 2, none: 3 };
const BARS = 60;
const INCIDENTS_SHOWN = 5;
const HOLD_MS = 3000;
const NEWS_MS = 30000; // what began before the page was there is no news to it, but for the last half minute
const list = document.getElementById("sessions");
const news = document.getElementById("incident-list");
const rest = element("li", { class: "muted" });
const fields = Object.fromEntries(["search", "exam", "line", "rule"].map((id) => [id, document.getElementById(id)]));
const sessions = new Map(); // by id: what the server told, and its row
const noted = new Map(); // by session id: the concerns that were news once
const incidents = new Map(); // by concern: the session's id and a line, until somebody marks them as seen
const title = document.title;
let openedMs = null; // by the server's clock
let heldAt = -Infinity;
let audio = null;

/** Sessions in the order to look at them: by priority, the newest concern first; what is over comes last. */
function order(a, b) {
  const over = (each) => (each.line === "ended" ? 1 : 0);
  const rank = (each) => RANK[each.glance?.priority ?? "none"];
  const newest = (each) => each.glance?.newest[0]?.end_ms ?? 0;
  return (
    over(a) - over(b) ||
    rank(a) - rank(b) ||
    newest(b) - newest(a) ||
    a.started_ms - b.started_ms ||
    (a.session_id < b.session_id ? -1 : 1)
  );
}

function linkTo({ session_id: id, candidate_id: candidate }) {
  return element("a", { href: `/session/${encodeURIComponent(id)}`, title: candidate ?? id }, candidate ?? id);
}

function rowOf(session) {
  const row = element("li", { class: "session" });
  const part = (name, ...children) => {
    const made = element("div", { class: name }, ...children);
    row.append(made);
    return made;
  };
  const line = element("span", { class: "line" });
  part("state", line);
  const link = linkTo(session);
  const under = [session.exam_id, session.candidate_id === null ? null : session.session_id].filter((each) => each !== null);
  part("name", link, element("span", { class: "muted", title: under.join(" · ") }, under.join(" · ")));
  const badge = element("span", { class: "badge" });
  const score = element("span");
  part("verdict", badge, score);
  const finding = part("finding");
  const seen = drawn("path", { class: "seen" });
  const unseen = drawn("path", { class: "unseen" });
  const ground = drawn("path", { class: "ground", d: `M0 9.500H${BARS}` });
  row.append(drawn("svg", { class: "bars", viewBox: `0 0 ${BARS} 10`, preserveAspectRatio: "none", "aria-hidden": "true" }, ground, unseen, seen));
  const name = session.candidate_id ?? session.session_id;
  const act = (text, does) => element("button", { type: "button", "aria-label": `${text}: ${name}`, onclick: () => does(session.session_id, name) }, text);
  part("act", act(texts.write, writeTo), act(texts.end, endSession));
  return { row, line, badge, score, finding, seen, unseen };
}

/** Bars from the right, so that now is at the same place for all. */
function paths(bars) {
  let seen = "";
  let unseen = "";
  for (let index = 0; index < bars.length; index += 1) {
    const x = BARS - bars.length + index;
    if (bars[index] === ".") unseen += `M${x} 8.500h1v1h-1z`;
    else if (bars[index] !== "0") seen += `M${x + 0.08} 9.500v-${bars[index]}h.84v${bars[index]}z`;
  }
  return [seen, unseen];
}

function put(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

function draw(session) {
  const { parts, glance, line } = session;
  const priority = glance?.priority ?? "none";
  parts.row.className = `session ${priority} ${line}`;
  parts.line.className = `line ${line}`;
  put(parts.line, texts.line[line]);
  parts.badge.className = `badge ${priority}`;
  parts.badge.hidden = glance === null;
  put(parts.badge, texts.common.priority[priority]);
  put(parts.score, glance === null ? "" : String(Math.round(glance.score)));
  const newest = glance?.newest[0];
  put(parts.finding, newest === undefined ? (glance === null ? "" : texts.no_concern) : `${timeOf(newest.start_ms)} ${newest.title}: ${newest.message}`);
  const bars = glance?.bars ?? "";
  if (parts.bars !== bars) {
    parts.bars = bars;
    const [seen, unseen] = paths(bars);
    parts.seen.setAttribute("d", seen);
    parts.unseen.setAttribute("d", unseen);
  }
}

function matches(session) {
  const wanted = fields.search.value.trim().toLowerCase();
  const named = `${session.candidate_id ?? ""} ${session.session_id} ${session.exam_id ?? ""}`.toLowerCase();
  return (
    named.includes(wanted) &&
    (!fields.exam.value || session.exam_id === fields.exam.value) &&
    (!fields.line.value || session.line === fields.line.value) &&
    (!fields.rule.value || Object.hasOwn(session.glance?.rules ?? {}, fields.rule.value))
  );
}

/** Put the rows in order. Not while somebody points at one: it would go away from under the pointer. */
function arrange(places, now) {
  const rows = [...sessions.values()]
    .filter(matches)
    .sort(order)
    .map((each) => each.parts.row);
  const held = !now && performance.now() - heldAt < HOLD_MS;
  if (held) for (const row of rows) if (!row.isConnected) list.append(row);
  if (!held) places.hold(list, rows);
  const wrong = held ? rows.filter((row, index) => list.children[index] !== row).length : 0;
  document.getElementById("moved").hidden = wrong === 0;
  if (wrong) put(document.getElementById("moved-text"), fill(texts.moved, { n: wrong }));
  document.getElementById("empty").hidden = rows.length > 0;
}

function choices(select, values) {
  const known = new Set([...select.options].map((option) => option.value));
  for (const [value, name] of values) if (!known.has(value)) select.append(element("option", { value }, name));
}

function summarise() {
  const all = [...sessions.values()];
  const counted = (line) => all.filter((each) => each.line === line).length;
  const high = all.filter((each) => each.glance?.priority === "high" && each.line !== "ended").length;
  put(document.getElementById("summary"), fill(texts.summary, { live: counted("live"), lost: counted("lost"), high, all: all.length }));
}

/** Note concerns of a session of high priority that were not news before. */
function note({ session_id: id, glance, ...session }) {
  if (glance?.priority !== "high") return;
  if (!noted.has(id)) noted.set(id, new Set());
  const known = noted.get(id);
  for (const each of [...glance.newest].reverse()) {
    const concern = `${each.rule} ${each.start_ms}`;
    if (known.has(concern)) continue;
    known.add(concern);
    if (each.start_ms < openedMs - NEWS_MS) continue;
    const said = ` ${timeOf(each.start_ms)} ${each.title}: ${each.message}`;
    incidents.set(`${id} ${concern}`, { id, line: element("li", {}, linkTo({ session_id: id, ...session }), said) });
    if (audio !== null) beep();
  }
}

function forget(id) {
  noted.delete(id);
  for (const [concern, each] of incidents) if (each.id === id) incidents.delete(concern);
}

function showIncidents(places) {
  const items = [...incidents.values()].map(({ line }) => line).reverse();
  document.getElementById("incidents").classList.toggle("some", items.length > 0);
  document.getElementById("none-new").hidden = items.length > 0;
  document.getElementById("seen").disabled = items.length === 0;
  document.title = items.length ? `(${items.length}) ${title}` : title;
  const shown = items.slice(0, INCIDENTS_SHOWN);
  if (items.length > shown.length) {
    put(rest, fill(texts.more, { n: items.length - shown.length }));
    shown.push(rest);
  }
  places.hold(news, shown);
}

/** Change what is shown, then put it in order; `now` although somebody points at a row. */
function change(what, now = false) {
  const places = new Places(list, news);
  what();
  arrange(places, now);
  showIncidents(places);
  places.settle();
}

function take(told) {
  openedMs ??= told.now_ms;
  const before = new Map(sessions);
  if (told.complete) sessions.clear();
  for (const each of told.sessions) {
    const known = before.get(each.session_id);
    const session = { ...each, parts: known?.parts ?? rowOf(each) };
    sessions.set(each.session_id, session);
    draw(session);
    note(session);
  }
  for (const name of told.gone) sessions.delete(name);
  for (const name of before.keys()) if (!sessions.has(name)) forget(name);
  const all = [...sessions.values()];
  choices(fields.exam, new Map(all.filter((each) => each.exam_id !== null).map((each) => [each.exam_id, each.exam_id])));
  choices(fields.rule, new Map(all.flatMap((each) => Object.entries(each.glance?.rules ?? {}))));
  summarise();
}

function update(told) {
  const began = performance.now();
  change(() => take(told));
  performance.measure("update", { start: began });
}

function beep() {
  const tone = audio.createOscillator();
  const volume = audio.createGain();
  volume.gain.setValueAtTime(0.15, audio.currentTime);
  volume.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + 0.4);
  tone.frequency.value = 880;
  tone.connect(volume).connect(audio.destination);
  tone.start();
  tone.stop(audio.currentTime + 0.4);
}

document.getElementById("sound").addEventListener("click", ({ currentTarget }) => {
  // Browsers let a page be heard only after somebody has pressed something.
  if (audio === null) audio = new AudioContext();
  else audio = void audio.close() ?? null;
  currentTarget.setAttribute("aria-pressed", String(audio !== null));
});
document.getElementById("seen").addEventListener("click", () => change(() => incidents.clear()));
document.getElementById("show-moved").addEventListener("click", () => change(() => {}, true));
document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
for (const field of Object.values(fields)) field.addEventListener("input", () => change(() => {}, true));
for (const kind of ["pointermove", "pointerdown", "wheel", "focusin", "keydown"]) list.addEventListener(kind, () => (heldAt = performance.now()), { passive: true });

follow("/api/v1/monitor/ws", update, (connected) => (document.getElementById("lost").hidden = connected));
