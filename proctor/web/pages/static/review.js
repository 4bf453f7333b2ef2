// The review: a queue of sessions, one of them open, and a key for whatever is done often.

import { call, element, fill, texts } from "./common.js";
import { Case, judgement } from "./review_case.js";
import { Queue } from "./review_queue.js";

const KEYS = "proctor-review-keys";
const page = document.getElementById("review");
const status = document.getElementById("status");
const failure = document.getElementById("failure");
const keys = document.getElementById("keys");
const home = "/review";
let busy = false;
let astray = false; // the address has changed while something was being done

const own = (review) => `/api/v1/review/${encodeURIComponent(review.session_id)}`;
const say = (words) => (status.textContent = words);

function fail(error) {
  failure.textContent = error.status === undefined ? texts.common.lost : fill(texts.common.failed, { detail: error.message });
  failure.hidden = false;
}

/** Send one thing at a time; what is pressed meanwhile was meant for what is still to come. */
async function doing(work) {
  if (busy) return;
  busy = true;
  failure.hidden = true;
  try {
    await work();
  } catch (error) {
    fail(error);
  } finally {
    busy = false;
    if (astray) follow();
  }
}

async function act(wish) {
  const { number, version } = subject.review;
  try {
    return await call("POST", own(subject.review), { seen: number, version, ...wish });
  } catch (error) {
    if (!error.problem?.review) throw error;
    subject.show(error.problem.review); // somebody was faster: nothing was done, and this is how it is
    queue.update(error.problem.review);
    subject.focus();
    throw error;
  }
}

const subject = new Case(document.getElementById("body"), {
  judge: (key, what, more = {}) =>
    doing(async () => {
      const review = await act({ act: what, finding: key, ...more });
      subject.asking = null;
      if (more.note) subject.forget(key);
      subject.show(review);
      queue.update(review);
      subject.advance();
      const left = review.findings.filter((each) => judgement(review, each) === null).length;
      say(`${texts.did[what]}. ${fill(texts.left, { n: left })}`);
    }),
  decide: (decision, note) =>
    doing(async () => {
      await queue.find(subject.review); // while its state is still what the filters may ask for
      const review = await act({ act: "decide", decision, ...(note ? { note } : {}) });
      subject.forget("");
      queue.update(review);
      const next = await queue.beside(review, 1, true);
      const done = `${review.candidate_id ?? review.session_id}: ${texts.decision[decision]}.`;
      if (next === null) {
        subject.show(review);
        document.getElementById("session").focus();
        say(`${done} ${texts.last}`);
      } else {
        await load(next, true);
        say(`${done} ${texts.back}`);
      }
    }),
  undo: (number) =>
    doing(async () => {
      const review = await act({ act: "undo", undoes: number });
      subject.show(review);
      queue.update(review);
      subject.focus();
      say(texts.did.undo);
    }),
  link: () =>
    doing(async () => {
      const made = await call("POST", `/api/v1/session/${encodeURIComponent(subject.review.session_id)}/transparency`, {});
      const place = document.getElementById("link");
      const field = element("input", { readonly: true, value: made.url, "aria-label": texts.link_label });
      place.replaceChildren(field, " ", element("span", { class: "muted" }, fill(texts.link_help, { until: new Date(made.expires_at).toLocaleString(document.documentElement.lang) })));
      place.hidden = false;
      field.focus();
      field.select();
    }),
});
const queue = new Queue((id) => doing(() => load(id, true)), fail);

async function load(id, remembered) {
  const review = await call("GET", `/api/v1/review/${encodeURIComponent(id)}`);
  if (remembered && location.pathname !== `${home}/${encodeURIComponent(id)}`) {
    history.pushState(null, "", `${home}/${encodeURIComponent(id)}`);
  }
  page.classList.add("opened");
  subject.asking = null;
  subject.show(review);
  queue.mark(id);
  page.classList.remove("loading"); // nothing takes the focus while it cannot be seen
  say("");
  const first = review.findings.findIndex((each) => judgement(review, each) === null);
  if (first > 0) subject.reach(first);
  subject.focus();
}

const shown = () => decodeURIComponent(location.pathname.slice(home.length + 1));

/** Show what the address says. */
function follow() {
  astray = busy;
  if (busy || shown() === (subject.review?.session_id ?? "")) return;
  if (shown()) doing(() => load(shown(), false));
  else leave();
}

function leave() {
  const row = queue.anchor(subject.review.session_id);
  page.classList.remove("opened");
  failure.hidden = true;
  say("");
  subject.close();
  queue.mark(null);
  (row ?? document.getElementById("case")).focus();
}

const go = (step) => () =>
  doing(async () => {
    const next = await queue.beside(subject.review, step);
    if (next !== null) await load(next, true);
    else if (step > 0) say(texts.last);
  });

const open = (work) => () => subject.review && work();
const PRESSED = {
  j: open(() => subject.step(1)),
  k: open(() => subject.step(-1)),
  c: open(() => subject.review.look !== null && subject.key && subject.does.judge(subject.key, "confirm")),
  C: open(() => subject.review.look !== null && subject.key && subject.ask(subject.key, "confirm")),
  d: open(() => subject.review.look !== null && subject.key && subject.ask(subject.key, "dismiss")),
  u: open(() => document.getElementById("undo")?.click()),
  n: open(() => decided("no_issue")),
  s: open(() => subject.review.look === 1 && decided("needs_second")),
  r: open(() => decided("referred")),
  m: open(() => document.getElementById(subject.asking ? "why" : "note")?.focus()),
  J: go(1),
  K: go(-1),
};

function decided(decision) {
  const note = document.getElementById("note");
  if (note) subject.does.decide(decision, note.value.trim());
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const typing = event.target.closest("input:not([type=checkbox]), textarea, select");
  if (event.key === "Escape" && subject.asking) {
    subject.ask(null);
  } else if (event.key === "Escape" && typing) {
    subject.review && subject.focus();
  } else if (typing || !keys.checked) {
    return;
  } else if (subject.asking && /^[0-9]$/.test(event.key)) {
    document.querySelector(`[data-digit="${event.key}"]`)?.click();
  } else if (PRESSED[event.key]) {
    PRESSED[event.key]();
  } else {
    return;
  }
  event.preventDefault();
});

function keysChanged() {
  page.classList.toggle("keyless", !keys.checked);
  localStorage.setItem(KEYS, keys.checked ? "on" : "off");
}
keys.checked = localStorage.getItem(KEYS) !== "off";
keys.addEventListener("change", keysChanged);
keysChanged();

addEventListener("popstate", follow);
const asked = new URLSearchParams(location.search).get("exam_id");
if (asked) queue.form.elements.exam_id.value = asked;
await queue.load();
if (shown()) await doing(() => load(shown(), false));
page.classList.remove("loading");
