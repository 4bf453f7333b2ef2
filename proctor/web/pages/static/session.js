// The page of one session: asks for its report again and again while it runs, and once when it is over.

import { endSession, writeTo } from "./acts.js";
import { call, dateOf, drawn, duration, element, fill, texts, timeOf } from "./common.js";
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

const timeline = new Timeline(document.getElementById("timeline"), choose);
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

function observed({ signal, value, threshold, baseline, unit }) {
  const told = (each) => (typeof each === "number" ? number.format(each) : each);
  const parts = [`${signal} ${told(value)}`];
  if (threshold !== null && threshold !== undefined) parts.push(`${texts.threshold} ${told(threshold)}`);
  if (baseline !== null && baseline !== undefined) parts.push(`${texts.baseline} ${told(baseline)}`);
  return `${parts.join(", ")}${unit ? ` (${unit})` : ""}`;
}

function showFindings() {
  const first = report.session_info.first_frame_at === null ? null : Date.parse(report.session_info.first_frame_at);
  document.getElementById("findings").replaceChildren(
    ...report.findings.map((each, index) =>
      element(
        "li",
        {},
        element(
          "button",
          { type: "button", "aria-pressed": String(index === timeline.chosen), onclick: () => choose(index) },
          element("span", {}, first === null ? duration(each.start_seconds) : timeOf(first + each.start_seconds * 1000)),
          element("span", {}, element("span", { class: `badge ${each.level === "concern" ? "high" : ""}` }, texts.common.level[each.level])),
          element("span", { class: "words" }, `${each.message}`),
          element("span", { class: "help" }, observed(each.observed)),
        ),
      ),
    ),
  );
  if (!report.findings.length) document.getElementById("findings").append(element("li", {}, texts.no_findings));
}

function choose(index) {
  timeline.choose(index);
  [...document.querySelectorAll("#findings button")].forEach((button, place) => button.setAttribute("aria-pressed", String(place === index)));
  document.getElementById("timeline").scrollIntoView({ block: "nearest" });
}

function showTimeline() {
  const info = report.session_info;
  const first = info.first_frame_at === null ? null : Date.parse(info.first_frame_at);
  const shift = first === null || signals.first_frame_ms === null ? 0 : (signals.first_frame_ms - first) / 1000;
  const titles = new Map(Object.entries(report.analyzers).map(([name, each]) => [name, each.title]));
  timeline.show({
    seconds: Math.max(1, info.duration_seconds),
    findings: report.findings.map((each) => ({ ...each, title: titles.get(each.rule) ?? each.rule })),
    windows: report.window_analysis.predictions_per_window,
    gaps: report.data_quality.gaps.longest,
    breaks: report.timeline.filter((each) => each.kind === "break"),
    diagrams: signals.diagrams.map((each) => ({ ...each, lines: each.lines.map((line) => ({ ...line, seconds: line.seconds.map((at) => at + shift) })) })),
    events: signals.events.map((each) => ({ ...each, seconds: each.seconds + shift })),
    milestones: first === null ? [] : milestones.map((each) => ({ seconds: (each.at_ms - first) / 1000, name: each.kind })),
  });
}

function showState() {
  const over = session.status !== "active";
  const status = document.getElementById("status");
  status.textContent = texts.status[session.status];
  status.className = `badge ${over ? "" : "low"}`;
  for (const act of document.querySelectorAll("#write, #end")) act.hidden = over;
}

async function refresh() {
  try {
    session = await call("GET", path);
    showState();
    try {
      report = await call("POST", `${path}/analyze`);
    } catch (failure) {
      // Somebody else has asked for it a moment ago; what there is stands until the next time.
      if (failure.status !== 429) throw failure;
    }
    if (performance.now() - signalsAt > SIGNALS_MS || report?.session_info.final) {
      signals = await call("GET", `${path}/signals`);
      const told = await call("GET", `${path}/milestones`);
      milestones = told.milestones.map((each) => ({ at_ms: Date.parse(each.at), kind: texts.milestone[each.kind] }));
      signalsAt = performance.now();
    }
    trouble(null);
  } catch (failure) {
    trouble(failure);
  }
  if (report !== null) {
    showVerdict();
    showQuality();
    showFindings();
    showTimeline();
  }
  if (!report?.session_info.final) setTimeout(refresh, REPORT_MS);
}

document.getElementById("zoom-in").addEventListener("click", () => timeline.zoom(0.6));
document.getElementById("zoom-out").addEventListener("click", () => timeline.zoom(1.6));
document.getElementById("zoom-all").addEventListener("click", () => timeline.all());
for (const [id, does] of [["write", writeTo], ["end", endSession]]) {
  document.getElementById(id)?.addEventListener("click", () => does(holder.dataset.id, document.querySelector("h1").textContent));
}
refresh();
