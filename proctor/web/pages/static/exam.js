// The exam's page: has its sessions judged by another policy, one after the other, and sums up what that comes to.
// The sum is only here; the server keeps nothing of it.

import { call, element, fill, texts } from "./common.js";

const TRIES = 4;
const PAUSE_SECONDS = 2;
const ROWS_AT_ONCE = 100;
const RANKS = ["high", "medium", "low", "none", "insufficient"];
const asked = JSON.parse(document.getElementById("asked").textContent);
const [form, select, button, progress, bar, soFar, outcome, result] = ["ask", "policy", "run", "progress", "bar", "so-far", "outcome", "result"].map(
  (id) => document.getElementById(id),
);
let running = null; // what has come so far, while it does

const rank = (ranked) => RANKS.indexOf(ranked.review_priority);
const changes = ({ before, after }) => before.review_priority !== after.review_priority;

/** Whichever of the two looks is the more serious comes first, then what the policy would say. */
function bySeriousness(a, b) {
  const most = (each) => Math.min(rank(each.before), rank(each.after));
  return (
    most(a) - most(b) ||
    rank(a.after) - rank(b.after) ||
    b.after.score - a.after.score ||
    b.before.score - a.before.score ||
    (a.session_id < b.session_id ? -1 : 1)
  );
}

/** Why one session could not be judged; null for what is the same for all that follow. */
function kindOf({ status, problem }) {
  const ofPolicy = problem?.errors?.[0]?.field === "policy";
  if (status === 400) return ofPolicy ? null : "granted";
  if (status === 409) return ofPolicy ? "same" : "dump";
  return { 404: "gone", 500: "server", 503: "server" }[status] ?? null;
}

/** Ask for one session, patiently while the server is busy or not there. */
async function judge(run, sessionId) {
  const path = `/api/v1/session/${encodeURIComponent(sessionId)}/what-if?policy=${encodeURIComponent(run.policy)}`;
  for (let tries = 1; ; tries += 1) {
    try {
      run.judged.push(await call("GET", path));
      return;
    } catch (failure) {
      if (run.over) return;
      if ([429, 503, undefined].includes(failure.status) && tries < TRIES) {
        await new Promise((resolve) => setTimeout(resolve, 1000 * (failure.retryAfterSeconds ?? PAUSE_SECONDS)));
        if (run.over) return;
        continue;
      }
      const kind = kindOf(failure);
      if (kind === null) end(run, fill(texts.broken_off, { ...counted(run), detail: failure.message }));
      else run.failed.push({ session_id: sessionId, kind, detail: failure.message });
      return;
    }
  }
}

async function work(run) {
  while (run.waiting.length) {
    await judge(run, run.waiting.shift());
    if (run.over) return;
    bar.value = run.judged.length + run.failed.length;
    soFar.textContent = fill(texts.so_far, counted(run));
  }
}

function counted(run) {
  const failed = run.failed.filter((each) => each.kind !== "same").length;
  return {
    all: run.all,
    done: run.judged.length + run.failed.length,
    judged: run.judged.length,
    changed: run.judged.filter(changes).length,
    failed,
    same: run.failed.length - failed,
  };
}

async function start(policy) {
  const run = { policy, all: asked.sessions.length, waiting: [...asked.sessions], judged: [], failed: [], over: false };
  running = run;
  button.textContent = texts.stop;
  select.disabled = true;
  result.replaceChildren();
  bar.max = run.all;
  bar.value = 0;
  soFar.textContent = fill(texts.so_far, counted(run));
  progress.hidden = false;
  outcome.textContent = fill(texts.starting, run);
  await Promise.all(Array.from({ length: asked.at_once }, () => work(run)));
  end(run, "");
}

/** Show what has come. What is still on its way when somebody stops is not waited for. */
function end(run, why) {
  if (run.over) return;
  run.over = true;
  running = null;
  button.textContent = texts.run;
  select.disabled = false;
  const counts = counted(run);
  const said = [why];
  if (counts.judged) said.push(fill(texts.finished, { policy: run.policy, ...counts }));
  if (counts.failed) said.push(fill(texts.not_judged_again, { n: counts.failed }));
  if (counts.same) said.push(fill(texts.same_policy, { n: counts.same }));
  outcome.textContent = said.filter(Boolean).join(" ");
  result.append(...(run.judged.length ? found(run) : []), ...failures(run));
}

function* found(run) {
  const under = fill(texts.under, run);
  const changed = run.judged.filter(changes).sort(bySeriousness);
  const moves = new Map();
  for (const { before, after } of changed) {
    const move = `${before.review_priority}>${after.review_priority}`;
    moves.set(move, { before, after, n: (moves.get(move)?.n ?? 0) + 1 });
  }
  const inOrder = [...moves.values()].sort((a, b) => rank(a.before) - rank(b.before) || rank(a.after) - rank(b.after));
  if (changed.length) {
    yield* table("moves", texts.moves, [texts.now, under, `#${texts.sessions}`], inOrder, (move) => [badge(move.before), badge(move.after), move.n]);
    yield* table("changed", texts.changed_sessions, [texts.session, texts.now, under], changed, (each) => [
      named(each.session_id),
      ...[each.before, each.after].map((ranked) => [badge(ranked), element("span", {}, fill(texts.scored, ranked))]),
    ]);
  }
  const rules = new Map();
  for (const each of run.judged.flatMap((one) => one.rules)) {
    const known = rules.get(each.rule) ?? { title: each.title, before: 0, after: 0 };
    rules.set(each.rule, { ...known, before: known.before + each.before, after: known.after + each.after });
  }
  const byConcerns = [...rules.values()].sort((a, b) => b.before + b.after - a.before - a.after || (a.title < b.title ? -1 : 1));
  const columns = [texts.rule, `#${texts.now}`, `#${under}`, `#${texts.difference}`];
  if (byConcerns.length) yield* table("by-rule", texts.concerns_by_rule, columns, byConcerns, (rule) => [element("span", { lang: "en" }, rule.title), rule.before, rule.after, signed(rule.after - rule.before)]);
  else yield element("p", {}, texts.no_concerns);
}

function failures(run) {
  const failed = run.failed.filter((each) => each.kind !== "same");
  if (!failed.length) return [];
  const order = Object.keys(texts.cannot);
  failed.sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind) || (a.session_id < b.session_id ? -1 : 1));
  return table("failed", texts.failed_sessions, [texts.session, texts.why], failed, (each) => [
    named(each.session_id),
    [texts.cannot[each.kind], element("br"), element("span", { class: "muted", lang: "en" }, each.detail)],
  ]);
}

/** A heading and its table; columns that begin with # are of numbers. Long ones are shown part by part. */
function* table(id, heading, columns, values, cellsOf) {
  const row = (value) => {
    const cells = cellsOf(value).map((cell, place) => {
      const name = place ? "td" : "th";
      return element(name, { scope: place ? null : "row", class: columns[place].startsWith("#") ? "number" : null }, ...[cell].flat());
    });
    return element("tr", {}, ...cells);
  };
  const heads = columns.map((column) => element("th", { scope: "col", class: column.startsWith("#") ? "number" : null }, column.replace("#", "")));
  const body = element("tbody", {}, ...values.slice(0, ROWS_AT_ONCE).map(row));
  yield element("h3", { id }, heading);
  yield element(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-labelledby": id },
    element("table", { class: "table" }, element("thead", {}, element("tr", {}, ...heads)), body),
  );
  const left = () => values.length - body.children.length;
  if (!left()) return;
  const more = element("button", { type: "button", class: "more" }, fill(texts.show_more, { n: left() }));
  more.addEventListener("click", () => {
    const first = body.children.length;
    body.append(...values.slice(first, first + ROWS_AT_ONCE).map(row));
    more.textContent = fill(texts.show_more, { n: left() });
    if (left()) return;
    more.remove();
    body.closest(".scroll").focus();
  });
  yield more;
}

const badge = ({ review_priority: priority }) => element("span", { class: `badge ${priority}` }, texts.common.priority[priority]);
const named = (id) => (asked.linked ? element("a", { href: `/session/${encodeURIComponent(id)}` }, id) : id);
const signed = (number) => (number > 0 ? `+${number}` : number < 0 ? `−${-number}` : "0");

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (running === null) start(select.value);
  else end(running, fill(texts.stopped, counted(running)));
});
