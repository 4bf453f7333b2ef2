// The page of one session: asks for its report again and again while it runs, and once when it is over.

import { endSession, writeTo } from "./acts.js";
import { call, dateOf, drawn, duration, element, fill, texts } from "./common.js";
import { Findings, keyed } from "./findings.js";
import { Timeline } from "./timeline.js";

const REPORT_MS = 5000;
const SIGNALS_MS = 30000;
const holder = document.getElementById("session");
const path = `/api/v1/session/${encodeURIComponent(holder.dataset.id)}`;
const SHARES = 6;
let report = null;
let session = null;
let signals = { first_frame_ms: null, diagrams: [], events: [] };
let milestones = [];
let signalsAt = -Infinity;
let waitMs = REPORT_MS;

const timeline = new Timeline(document.getElementById("timeline"), choose);
const findings = new Findings(document.getElementById("findings"), choose);
const number = new Intl.NumberFormat(document.documentElement.lang, { maximumFractionDigits: 2 });
const percent = new Intl.NumberFormat(document.documentElement.lang, { style: "percent", maximumFractionDigits: 1 });

function trouble(failure) {
  const told = document.getElementById("trouble");
  told.hidden = failure === null;
  if (failure !== null) told.textContent = fill(texts.common.failed, { detail: failure.message });
}

function showVerdict() {
  const { verdict, contributions } = report;
  const counted = contributions.filter((each) => each.points > 0);
  const bar = drawn("svg", { class: "scale", viewBox: "0 0 600 48", preserveAspectRatio: "none", role: "img", "aria-label": fill(texts.scale, { score: verdict.score }) });
  bar.append(drawn("rect", { class: "ground", x: 0, y: 8, width: 600, height: 22, rx: 4 }));
  let at = 0;
  counted.forEach((each, index) => {
    bar.append(drawn("rect", { class: `share-${index % SHARES}`, x: at * 6, y: 8, width: each.points * 6, height: 22 }, drawn("title", {}, `${each.title}: ${each.points}`)));
    at += each.points;
  });
  const bounds = report.provenance.policy.values.verdict ?? {};
  for (const priority of ["low", "medium", "high"]) {
    const from = bounds[`${priority}_score`] ?? bounds[priority];
    if (typeof from === "number") bar.append(drawn("line", { class: "mark", x1: from * 6, x2: from * 6, y1: 2, y2: 34 }), drawn("text", { x: from * 6 + 3, y: 45 }, texts.common.priority[priority]));
  }
  document.getElementById("verdict").replaceChildren(
    element("p", { class: "score" }, element("strong", {}, String(verdict.score)), element("span", { class: `badge ${verdict.review_priority}` }, texts.common.priority[verdict.review_priority])),
    bar,
    element("p", {}, verdict.verdict_basis),
    element(
      "ul",
      { class: "shares" },
      ...counted.map((each, index) =>
        element(
          "li",
          {},
          element("span", { class: `swatch share-${index % SHARES}` }),
          element("span", {}, each.title),
          element("span", {}, fill(texts.points, { points: each.points, max: each.points_max })),
          element("span", { class: "help" }, fill(texts.without, { score: each.without.score, priority: texts.common.priority[each.without.review_priority] })),
        ),
      ),
    ),
    ...report.recommendations.map((each) => element("p", { class: "help" }, each)),
  );
}

function showQuality() {
  const { data_quality: quality, session_info: info } = report;
  const rows = [
    [texts.started, dateOf(Date.parse(info.started_at))],
    [texts.length, duration(info.duration_seconds)],
    [texts.frames, `${quality.frames.analysed}${quality.frames.missing ? ` (${fill(texts.missing, { n: quality.frames.missing })})` : ""}`],
    [texts.rate, quality.frames_per_second === null ? "–" : number.format(quality.frames_per_second)],
    [texts.coverage, percent.format(quality.coverage)],
    [texts.gaps, `${quality.gaps.count} (${duration(quality.gaps.total_seconds)})`],
    [texts.unseen, quality.features_never_seen.join(", ") || "–"],
  ];
  document.getElementById("quality").replaceChildren(...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
  const granted = report.accommodations;
  document.getElementById("accommodations").replaceChildren(
    ...(granted.length ? [element("h3", {}, texts.accommodations), element("ul", {}, ...granted.map((each) => element("li", {}, `${each.description} (${each.accommodation.reason})`)))] : []),
  );
}

function choose(key) {
  timeline.choose(key);
  findings.press(key);
  document.getElementById("timeline").scrollIntoView({ block: "nearest" });
}

const firstFrame = () => (report.session_info.first_frame_at === null ? null : Date.parse(report.session_info.first_frame_at));

function showTimeline() {
  const info = report.session_info;
  const first = firstFrame();
  // Without frames there is nothing but milestones, counted from the start.
  const origin = first ?? Date.parse(info.started_at);
  const marks = milestones.map((each) => ({ seconds: (each.at_ms - origin) / 1000, name: each.kind }));
  const { window_confidence: flagged } = report.provenance.policy.values.verdict ?? {};
  const shift = first === null || signals.first_frame_ms === null ? 0 : (signals.first_frame_ms - first) / 1000;
  const titles = new Map(Object.entries(report.analyzers).map(([name, each]) => [name, each.title]));
  timeline.show({
    begin: Math.min(0, ...marks.map((each) => each.seconds)),
    end: Math.max(1, info.duration_seconds, ...marks.map((each) => each.seconds)),
    findings: keyed(report.findings).map((each) => ({ ...each, title: titles.get(each.rule) ?? each.rule })),
    windows: report.window_analysis.predictions_per_window,
    flagged: typeof flagged === "number" ? flagged : null,
    gaps: report.data_quality.gaps.longest,
    breaks: report.timeline.filter((each) => each.kind === "break"),
    diagrams: signals.diagrams.map((each) => ({ ...each, lines: each.lines.map((line) => ({ ...line, seconds: line.seconds.map((at) => at + shift) })) })),
    events: signals.events.map((each) => ({ ...each, seconds: each.seconds + shift })),
    milestones: marks,
  });
}

function showMilestones() {
  document.getElementById("milestones").replaceChildren(
    ...milestones.map((each) => element("li", {}, element("time", { datetime: new Date(each.at_ms).toISOString() }, dateOf(each.at_ms)), element("span", {}, each.kind))),
  );
}

function showState() {
  const over = session.status !== "active";
  const status = document.getElementById("status");
  status.textContent = texts.status[session.status];
  status.className = `badge ${over ? "" : "low"}`;
  for (const act of document.querySelectorAll("#write, #end")) act.hidden = over;
}

async function readSession() {
  session = await call("GET", path);
  showState();
}

async function readReport() {
  waitMs = REPORT_MS;
  try {
    report = await call("POST", `${path}/analyze`);
  } catch (failure) {
    // Somebody else has asked for it a moment ago; what there is stands until the next time.
    if (failure.status !== 429) throw failure;
    if (report === null) waitMs = Math.min(REPORT_MS, 1000 * (failure.retryAfterSeconds ?? 1));
  }
}

async function readSignals() {
  if (performance.now() - signalsAt < SIGNALS_MS && !report?.session_info.final) return;
  signals = await call("GET", `${path}/signals`);
  signalsAt = performance.now();
}

async function readMilestones() {
  const told = await call("GET", `${path}/milestones`);
  milestones = told.milestones.map((each) => ({ at_ms: Date.parse(each.at), kind: texts.milestone[each.kind] }));
  showMilestones();
}

function show() {
  if (report === null) return;
  showVerdict();
  showQuality();
  findings.show(report.findings, firstFrame());
  showTimeline();
}

/** Ask for one after the other, whichever of them fails; returns why they did. */
async function read(...parts) {
  const failures = [];
  for (const part of parts) {
    try {
      await part();
    } catch (failure) {
      failures.push(failure);
    }
  }
  return failures;
}

async function refresh() {
  let failures = await read(readSession);
  if (!failures.length) failures = await read(readReport, readSignals, readMilestones);
  trouble(failures[0] ?? null);
  show();
  // What has expired does not come back.
  if (!report?.session_info.final || failures.some((each) => each.status !== 404)) setTimeout(refresh, waitMs);
}

document.getElementById("earlier").addEventListener("click", () => timeline.move(-0.5));
document.getElementById("later").addEventListener("click", () => timeline.move(0.5));
document.getElementById("zoom-in").addEventListener("click", () => timeline.zoom(0.6));
document.getElementById("zoom-out").addEventListener("click", () => timeline.zoom(1.6));
document.getElementById("zoom-all").addEventListener("click", () => timeline.all());
for (const [id, does] of [["write", writeTo], ["end", endSession]]) {
  document.getElementById(id)?.addEventListener("click", () => does(holder.dataset.id, document.querySelector("h1").textContent));
}
refresh();
