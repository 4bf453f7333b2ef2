// The queue of ended sessions: filtered, a page at a time, those that could not be ranked apart.

import { queue as fetchQueue } from "./review_api.js";
import { choice, h, text } from "./review_dom.js";

export class Queue {
  constructor(onOpen) {
    this.onOpen = onOpen;
    this.list = document.getElementById("queue");
    this.apart = document.getElementById("apart");
    this.form = document.getElementById("filters");
    this.more = document.getElementById("more");
    this.counts = document.getElementById("counts");
    this.sessions = [];
    this.current = null;
    this.form.addEventListener("change", () => this.load());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.load();
    });
    this.more.addEventListener("click", () => this.next());
  }

  filters() {
    return Object.fromEntries(new FormData(this.form));
  }

  async load() {
    const filters = this.filters();
    const ranked = filters.priority === "insufficient" ? null : await fetchQueue(filters);
    const apart =
      filters.priority && filters.priority !== "insufficient"
        ? null
        : await fetchQueue({ ...filters, priority: "insufficient", limit: 500 });
    this.sessions = ranked?.sessions ?? [];
    this.unranked = apart?.sessions ?? [];
    this.place = ranked?.next ?? null;
    this.tell((ranked ?? apart).counts);
    this.show();
  }

  async next() {
    const page = await fetchQueue({ ...this.filters(), after: this.place });
    this.sessions.push(...page.sessions);
    this.place = page.next;
    this.show();
  }

  tell(counts) {
    const of = (state) => counts.filter((each) => each.state === state).reduce((sum, each) => sum + each.sessions, 0);
    this.counts.textContent = text("counts", {
      open: of("open"),
      second: of("awaiting_second"),
      decided: of("decided"),
    });
    const exam = this.form.elements.exam_id.value;
    for (const anchor of document.querySelectorAll("[data-export]")) {
      const query = new URLSearchParams(exam ? { exam_id: exam } : {});
      anchor.href = `/api/v1/review.${anchor.dataset.export}?${query}`;
    }
    const figures = document.getElementById("figures");
    figures.hidden = !exam;
    figures.href = `/exam/${encodeURIComponent(exam)}`;
  }

  show() {
    this.list.replaceChildren(...this.sessions.map((session) => this.row(session)));
    this.apart.replaceChildren(...this.unranked.map((session) => this.row(session)));
    document.getElementById("none").hidden = this.sessions.length + this.unranked.length > 0;
    document.getElementById("apart-part").hidden = this.unranked.length === 0;
    this.more.hidden = this.place === null;
  }

  row(session) {
    const state = session.decision ? choice("decisions", session.decision) : choice("states", session.state);
    const priority = choice("priorities", session.review_priority);
    const open = (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      this.onOpen(session.session_id);
    };
    return h(
      "li",
      {},
      h(
        "a",
        {
          href: `/review/${encodeURIComponent(session.session_id)}`,
          onclick: open,
          "aria-current": session.session_id === this.current ? "true" : null,
        },
        h("span", { class: `badge ${session.review_priority}` }, priority),
        h("span", { class: "who-sat" }, session.candidate_id ?? session.session_id),
        h("span", { class: "number" }, String(session.score)),
        h("span", { class: "muted state" }, state),
      ),
    );
  }

  mark(id) {
    this.current = id;
    this.show();
    this.list.parentElement.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  }

  // Takes over what has become of a session without moving it, so that the next one stays the next.
  update(review) {
    const own = [...this.sessions, ...this.unranked].find((each) => each.session_id === review.session_id);
    if (own) Object.assign(own, { state: review.state, decision: review.decision, first_look: review.first_look });
    this.show();
  }

  // The next session that is this reviewer's to look at, or merely the one beside it.
  beside(id, step, unfinished) {
    const all = [...this.sessions, ...this.unranked];
    let place = all.findIndex((each) => each.session_id === id) + step;
    const done = (each) => each.state === "decided" || (each.state === "awaiting_second" && each.first_look);
    while (unfinished && all[place] && done(all[place])) place += step;
    return all[place]?.session_id ?? null;
  }
}
