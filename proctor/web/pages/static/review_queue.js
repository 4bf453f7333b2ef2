// The queue of ended sessions: filtered, a page at a time, those that could not be ranked apart.

import { call, element, fill, texts } from "./common.js";

const ask = (filters) => {
  const wanted = Object.entries(filters).filter(([, value]) => value);
  return call("GET", `/api/v1/review?${new URLSearchParams(wanted)}`);
};

export class Queue {
  constructor(onOpen, onFailure) {
    this.onOpen = onOpen;
    this.onFailure = onFailure;
    this.list = document.getElementById("queue");
    this.apart = document.getElementById("apart");
    this.form = document.getElementById("filters");
    this.more = document.getElementById("more");
    this.ranked = [];
    this.unranked = [];
    this.current = null;
    this.asked = 0;
    this.form.addEventListener("change", () => this.load());
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.more.addEventListener("click", () => this.next());
  }

  filters() {
    return Object.fromEntries(new FormData(this.form));
  }

  async load() {
    const filters = this.filters();
    const asked = ++this.asked;
    try {
      const all = !filters.priority;
      const [ranked, apart] = await Promise.all([
        ask(filters),
        all ? ask({ ...filters, priority: "insufficient", limit: 500 }) : null,
      ]);
      if (asked !== this.asked) return; // other filters were chosen meanwhile
      this.ranked = ranked.sessions;
      this.unranked = apart?.sessions ?? [];
      this.place = ranked.next;
      this.tell(ranked.counts);
      this.show();
    } catch (failure) {
      this.onFailure(failure);
    }
  }

  async next() {
    try {
      const page = await ask({ ...this.filters(), after: this.place });
      const first = this.ranked.length;
      this.ranked.push(...page.sessions);
      this.place = page.next;
      this.show();
      this.list.children[first]?.firstChild.focus();
    } catch (failure) {
      this.onFailure(failure);
    }
  }

  tell(counts) {
    const of = (state) => counts.filter((each) => each.state === state).reduce((sum, each) => sum + each.sessions, 0);
    const numbers = { open: of("open"), second: of("awaiting_second"), decided: of("decided") };
    document.getElementById("counts").textContent = fill(texts.counts, numbers);
    const exam = this.form.elements.exam_id.value;
    for (const anchor of document.querySelectorAll("[data-export]")) {
      anchor.href = `/api/v1/review.${anchor.dataset.export}${exam ? `?${new URLSearchParams({ exam_id: exam })}` : ""}`;
    }
    const figures = document.getElementById("figures");
    figures.hidden = !exam;
    figures.href = `/exam/${encodeURIComponent(exam)}`;
  }

  show() {
    this.list.replaceChildren(...this.ranked.map((session) => this.row(session)));
    this.apart.replaceChildren(...this.unranked.map((session) => this.row(session)));
    document.getElementById("none").hidden = this.ranked.length + this.unranked.length > 0;
    document.getElementById("apart-part").hidden = this.unranked.length === 0;
    this.more.hidden = !this.place;
  }

  row(session) {
    const open = (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      this.onOpen(session.session_id);
    };
    const current = session.session_id === this.current ? "true" : null;
    return element(
      "li",
      {},
      element(
        "a",
        { href: `/review/${encodeURIComponent(session.session_id)}`, onclick: open, "aria-current": current },
        element("span", { class: `badge ${session.review_priority}` }, texts.common.priority[session.review_priority]),
        element("span", { class: "name" }, session.candidate_id ?? session.session_id),
        element("span", { class: "score" }, String(session.score)),
        element("span", { class: "muted" }, session.decision ? texts.decision[session.decision] : texts.state[session.state]),
      ),
    );
  }

  mark(id) {
    this.current = id;
    this.show();
    document.querySelector(".queue [aria-current]")?.scrollIntoView({ block: "nearest" });
  }

  /** Takes over what has become of a session without moving it, so that the next one stays the next. */
  update({ session_id, state, decision, first_look }) {
    const own = [...this.ranked, ...this.unranked].find((each) => each.session_id === session_id);
    if (own) Object.assign(own, { state, decision, first_look });
    this.show();
  }

  /** The session beside one; or, if `mine`, the next one that this reviewer can do something about. */
  beside(id, step, mine = false) {
    const all = [...this.ranked, ...this.unranked];
    const done = (each) => each.state === "decided" || (each.state === "awaiting_second" && each.first_look);
    let place = all.findIndex((each) => each.session_id === id) + step;
    while (mine && all[place] && done(all[place])) place += step;
    return all[place]?.session_id ?? null;
  }
}
