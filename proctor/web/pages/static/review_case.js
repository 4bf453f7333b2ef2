// One session under review, drawn anew from what the server says of it.

import { dateOf, duration, element, fill, texts } from "./common.js";

const moment = (iso) => element("time", { datetime: iso }, dateOf(new Date(iso)));

const button = (words, key, act, attributes = {}) =>
  element("button", { type: "button", onclick: act, ...attributes }, words, key ? " " : null, key ? element("kbd", {}, key) : null);

/** What somebody did, in words. */
function told(review, act) {
  const reasons = { ...review.reasons.confirm, ...review.reasons.dismiss };
  const parts = [texts.did[act.act]];
  if (act.decision) parts.push(texts.decision[act.decision]);
  if (act.reason) parts.push(reasons[act.reason] ?? act.reason);
  if (act.undoes) parts.push(`#${act.undoes}`);
  const who = act.reviewer === "candidate" ? texts.candidate : act.reviewer;
  return [`${parts.join(": ")} – ${who}, `, moment(act.at), act.note ? `\n“${act.note}”` : null];
}

/** The judgement that the reader would change now, or the last word. */
export function judgement(review, each) {
  if (review.look === null) return each.judgements.at(-1) ?? null;
  return each.judgements.find((act) => act.look === review.look) ?? null;
}

export class Case {
  /** `does` has what can be done: judge(key, act, more), decide(decision, note), undo(number), link(). */
  constructor(body, does) {
    this.body = body;
    this.does = does;
    this.review = null;
    this.asking = null; // the finding for which reasons are shown, and whether they are to confirm or dismiss it
    this.place = 0;
    this.drafts = new Map(); // notes that were begun and not sent
  }

  show(review) {
    if (this.review?.session_id !== review.session_id) this.place = 0;
    this.review = review;
    this.place = Math.min(this.place, Math.max(0, review.findings.length - 1));
    this.body.replaceChildren(
      this.head(),
      this.statement(),
      this.findings(),
      review.look === null ? element("p", { class: "notice" }, this.whyNot()) : this.decision(),
      this.history(),
    );
  }

  close() {
    this.review = this.asking = null;
    this.body.replaceChildren(element("p", { class: "muted" }, texts.choose));
  }

  /** Have a field hold what was begun to be noted about a finding, or about the session if `key` is empty. */
  drafted(field, key) {
    const name = `${this.review.session_id} ${key}`;
    field.value = this.drafts.get(name) ?? "";
    field.addEventListener("input", () => this.drafts.set(name, field.value));
    return field;
  }

  /** Drop a note that has been sent. */
  forget(key) {
    this.drafts.delete(`${this.review.session_id} ${key}`);
  }

  whyNot() {
    const { state, decision } = this.review;
    return state === "decided" ? fill(texts.is_decided, { decision: texts.decision[decision] }) : texts.others_turn;
  }

  head() {
    const { review } = this;
    const priority = review.verdict.review_priority;
    const id = encodeURIComponent(review.session_id);
    return element(
      "div",
      { class: "stack" },
      element(
        "div",
        { class: "head" },
        element("h2", { id: "session", tabindex: "-1" }, review.candidate_id ?? review.session_id),
        element("span", { class: `badge ${priority}` }, texts.common.priority[priority]),
        element("span", {}, fill(texts.score, { score: review.verdict.score })),
        element("span", { class: "muted" }, texts.state[review.state]),
      ),
      element("p", { class: "words muted" }, `${review.session_id} · `, this.exam(), " · ", moment(review.started_at)),
      review.look === 2 ? element("p", { class: "notice" }, texts.second_look) : null,
      element("p", { class: "words" }, review.verdict.verdict_basis),
      element(
        "p",
        { class: "actions" },
        element("a", { class: "button", href: `/session/${id}` }, texts.timeline),
        element("a", { class: "button", href: `/api/v1/session/${id}/report.html` }, texts.page),
        button(texts.link, "", () => this.does.link()),
      ),
      element("p", { id: "link", hidden: true }),
    );
  }

  exam() {
    const { exam_id } = this.review;
    return exam_id ? element("a", { href: `/exam/${encodeURIComponent(exam_id)}` }, exam_id) : "–";
  }

  statement() {
    const { statement } = this.review;
    if (!statement) return element("p", { class: "muted" }, texts.no_statement);
    return element(
      "section",
      { class: "card", "aria-labelledby": "said-title" },
      element("h3", { id: "said-title" }, texts.statement),
      element("p", { class: "words", id: "statement" }, statement.note),
      element("p", { class: "muted" }, moment(statement.at)),
    );
  }

  findings() {
    const { findings } = this.review;
    if (!findings.length) return element("p", {}, texts.no_findings);
    const items = findings.map((each, place) => this.finding(each, place));
    return element("ol", { class: "findings", "aria-label": texts.findings }, ...items);
  }

  finding(each, place) {
    const { finding, key } = each;
    const own = judgement(this.review, each);
    const may = this.review.look !== null;
    const asked = this.asking?.key === key ? this.asking.act : null;
    const pressed = (act) => String(own?.act === act);
    const earlier = each.earlier.map((act) => element("li", { class: "muted" }, `${texts.earlier} `, ...told(this.review, act)));
    return element(
      "li",
      {
        class: `finding ${finding.level}`,
        id: `f-${key}`,
        tabindex: place === this.place ? "0" : "-1",
        "aria-label": `${place + 1}: ${finding.message}`,
        onfocusin: () => this.reach(place),
      },
      element("span", { class: "at" }, duration(finding.start_seconds)),
      element("p", {}, finding.message, " ", element("span", { class: "muted" }, `${texts.common.level[finding.level]}, ${duration(finding.end_seconds - finding.start_seconds)}`)),
      may
        ? element(
            "div",
            { class: "actions" },
            button(texts.confirm, "c", () => this.does.judge(key, "confirm"), { "aria-pressed": pressed("confirm") }),
            button(texts.confirm_why, "C", () => this.ask(key, "confirm"), { "aria-expanded": String(asked === "confirm") }),
            button(texts.dismiss, "d", () => this.ask(key, "dismiss"), { "aria-pressed": pressed("dismiss"), "aria-expanded": String(asked === "dismiss") }),
          )
        : element("span"),
      element("ul", { class: "said" }, ...each.judgements.map((act) => element("li", {}, ...told(this.review, act))), ...earlier),
      asked ? this.reasons(key, asked) : null,
    );
  }

  reasons(key, act) {
    const note = this.drafted(element("input", { id: "why", maxlength: "4000", autocomplete: "off" }), key);
    const given = () => (note.value.trim() ? { note: note.value.trim() } : {});
    const choice = (words, digit, more) =>
      button(words, digit, () => this.does.judge(key, act, { ...more, ...given() }), { "data-digit": digit });
    const choices = Object.entries(this.review.reasons[act]).map(([reason, words], place) =>
      choice(words, String(place + 1), { reason }),
    );
    if (act === "confirm") choices.push(choice(texts.no_reason, "0", {}));
    note.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault(); // or it would press the button that it goes on to
      choices[0]?.focus();
    });
    return element(
      "fieldset",
      { class: "reasons" },
      element("legend", {}, texts.why[act]),
      element("label", { for: "why" }, texts.note),
      note,
      ...choices,
      button(texts.cancel, "Esc", () => this.ask(null)),
    );
  }

  /** Show the reasons to choose from, or hide them. */
  ask(key, act) {
    this.asking = key ? { key, act } : null;
    this.show(this.review);
    if (key) this.body.querySelector(".reasons button").focus();
    else this.focus();
  }

  decision() {
    const decide = (decision) => () => this.does.decide(decision, this.body.querySelector("#note").value.trim());
    return element(
      "section",
      { class: "card stack", "aria-labelledby": "decide-title" },
      element("h3", { id: "decide-title" }, texts.decide),
      element("label", { for: "note" }, texts.note),
      this.drafted(element("textarea", { id: "note", maxlength: "4000", rows: "2" }), ""),
      element(
        "div",
        { class: "actions" },
        button(texts.decision.no_issue, "n", decide("no_issue")),
        this.review.look === 1 ? button(texts.decision.needs_second, "s", decide("needs_second")) : null,
        button(texts.decision.referred, "r", decide("referred")),
      ),
    );
  }

  history() {
    const { acts, undoable } = this.review;
    const last = undoable.at(-1);
    return element(
      "div",
      {},
      last ? button(texts.undo, "u", () => this.does.undo(last), { id: "undo" }) : null,
      element(
        "details",
        {},
        element("summary", {}, fill(texts.acts, { n: acts.length })),
        element("ol", { class: "acts" }, ...acts.map((act) => element("li", { value: String(act.number), class: "words" }, ...told(this.review, act)))),
      ),
    );
  }

  reach(place) {
    if (place === this.place) return;
    const items = this.body.querySelectorAll(".finding");
    items[this.place]?.setAttribute("tabindex", "-1");
    items[place]?.setAttribute("tabindex", "0");
    this.place = place;
  }

  /** Go to the finding that is so many further on. */
  step(by) {
    const last = this.review.findings.length - 1;
    this.reach(Math.min(last, Math.max(0, this.place + by)));
    this.focus();
  }

  /** Go to the next finding that has not been judged; stay where there is none. */
  advance() {
    const { findings } = this.review;
    const ahead = [...findings.keys()].map((n) => (this.place + n) % findings.length);
    const open = ahead.find((place) => judgement(this.review, findings[place]) === null);
    if (open !== undefined) this.reach(open);
    this.focus();
  }

  focus() {
    (this.body.querySelectorAll(".finding")[this.place] ?? this.body.querySelector("#session"))?.focus();
  }

  get key() {
    return this.review.findings[this.place]?.key ?? null;
  }
}
