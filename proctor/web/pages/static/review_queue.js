// The queue of ended sessions: filtered, a page at a time, those that could not be ranked apart.

import { call, element, fill, texts } from "./common.js";

const MOST_AT_ONCE = 500; // sessions that the server gives on one page
const NOTHING = { sessions: [], next: null };

const chosen = (filters) => new URLSearchParams(Object.entries(filters).filter(([, value]) => value));
const ask = (filters) => call("GET", `/api/v1/review?${chosen(filters)}`);

/** A list of sessions of which the server gives a page at a time. */
class Part {
  constructor(list, more, row) {
    Object.assign(this, { list, more, row, filters: {}, sessions: [], next: null, coming: null });
  }

  begin(filters, page) {
    this.filters = filters;
    this.sessions = [];
    this.list.replaceChildren();
    this.take(page);
  }

  take({ sessions, next }) {
    const known = new Set(this.sessions.map((each) => each.session_id));
    const others = sessions.filter((each) => !known.has(each.session_id)); // one judged again may come again
    this.sessions.push(...others);
    this.list.append(...others.map(this.row));
    this.next = next;
    this.more.hidden = !next;
  }

  /** Fetch the next page, of which there must be one; once, whoever asks for it meanwhile. */
  load(limit) {
    this.coming ??= this.fetch(limit).finally(() => (this.coming = null));
    return this.coming;
  }

  async fetch(limit) {
    const { filters, next } = this;
    const page = await ask({ ...filters, after: next, limit });
    if (filters === this.filters) this.take(page); // unless others were chosen meanwhile
  }

  place(id) {
    return this.sessions.findIndex((each) => each.session_id === id);
  }
}

export class Queue {
  constructor(onOpen, onFailure) {
    this.onOpen = onOpen;
    this.onFailure = onFailure;
    this.form = document.getElementById("filters");
    this.ranked = this.part("queue", "more");
    this.apart = this.part("apart", "apart-more");
    this.current = null;
    this.asked = 0;
    this.counted = 0;
    this.form.addEventListener("change", () => this.load());
    this.form.addEventListener("submit", (event) => event.preventDefault());
  }

  part(id, more) {
    const [list, button] = [document.getElementById(id), document.getElementById(more)];
    const part = new Part(list, button, (session) => this.row(session));
    button.addEventListener("click", async () => {
      const first = part.sessions.length;
      try {
        await part.load();
        list.children[first]?.firstChild.focus();
      } catch (failure) {
        this.onFailure(failure);
      }
    });
    return part;
  }

  filters() {
    return Object.fromEntries(new FormData(this.form));
  }

  async load() {
    const filters = this.filters();
    const others = { ...filters, priority: "insufficient" };
    const asked = ++this.asked;
    try {
      const [ranked, apart] = await Promise.all([ask(filters), filters.priority ? NOTHING : ask(others)]);
      if (asked !== this.asked) return; // other filters were chosen meanwhile
      this.ranked.begin(filters, ranked);
      this.apart.begin(others, apart);
      document.getElementById("none").hidden = this.at(0) !== null;
      document.getElementById("apart-part").hidden = apart.sessions.length === 0;
      this.counted++;
      this.tell(ranked.counts);
      this.link(filters);
    } catch (failure) {
      this.onFailure(failure);
    }
  }

  tell(counts) {
    const of = (state) => counts.filter((each) => each.state === state).reduce((sum, each) => sum + each.sessions, 0);
    const numbers = { open: of("open"), second: of("awaiting_second"), decided: of("decided") };
    document.getElementById("counts").textContent = fill(texts.counts, numbers);
  }

  /** Ask how many there are of each state now, unless that is asked anew meanwhile. */
  async recount() {
    const asked = ++this.counted;
    try {
      const { counts } = await ask({ exam_id: this.ranked.filters.exam_id, limit: 1 });
      if (asked === this.counted) this.tell(counts);
    } catch (failure) {
      this.onFailure(failure);
    }
  }

  link(filters) {
    for (const anchor of document.querySelectorAll("[data-export]")) {
      anchor.href = `/api/v1/review.${anchor.dataset.export}?${chosen(filters)}`;
    }
    const figures = document.getElementById("figures");
    figures.hidden = !filters.exam_id;
    figures.href = `/exam/${encodeURIComponent(filters.exam_id)}`;
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

  /** The link in a session's row; undefined if it has none yet. */
  anchor(id) {
    const part = [this.ranked, this.apart].find((each) => each.place(id) >= 0);
    return part?.list.children[part.place(id)].firstChild;
  }

  /** Mark a session as the one that is open; null if none is. */
  mark(id) {
    this.anchor(this.current)?.removeAttribute("aria-current");
    this.current = id;
    this.anchor(id)?.setAttribute("aria-current", "true");
    this.anchor(id)?.scrollIntoView({ block: "nearest" });
  }

  /** Takes over what has become of a session without moving it, so that the next one stays the next. */
  update({ session_id, state, decision, first_look }) {
    const own = this.at(this.place(session_id));
    if (own?.state !== state) this.recount();
    if (own === null) return;
    Object.assign(own, { state, decision, first_look });
    this.anchor(session_id).parentElement.replaceWith(this.row(own));
  }

  /** The session at a place of all that are here, the ranked ones first; null if there is none. */
  at(place) {
    return this.ranked.sessions[place] ?? this.apart.sessions[place - this.ranked.sessions.length] ?? null;
  }

  place(id) {
    const [first, second] = [this.ranked.place(id), this.apart.place(id)];
    return first < 0 && second >= 0 ? this.ranked.sessions.length + second : first;
  }

  /** Fetch what there is up to a session's row, if the filters leave it one. */
  async find(review) {
    const { exam_id, state, session_id } = review;
    const priority = review.verdict.review_priority;
    const own = { exam_id, state, priority };
    const part = priority === "insufficient" && !this.ranked.filters.priority ? this.apart : this.ranked;
    if (Object.entries(this.ranked.filters).some(([name, value]) => value && own[name] !== value)) return;
    while (this.place(session_id) < 0 && part.next) await part.load(MOST_AT_ONCE);
  }

  /** The session beside the one that is open, if one is; or, if `mine`, the next one that this reviewer can do
   * something about. Fetches what is not here yet. */
  async beside(review, step, mine = false) {
    const done = (each) => each.state === "decided" || (each.state === "awaiting_second" && each.first_look);
    if (review) await this.find(review);
    let place = review ? this.place(review.session_id) : -1;
    do {
      while (step > 0 && place === this.ranked.sessions.length - 1 && this.ranked.next) await this.ranked.load();
      while (step > 0 && this.at(place + 1) === null && this.apart.next) await this.apart.load();
      place += step;
    } while (mine && this.at(place) && done(this.at(place)));
    return this.at(place)?.session_id ?? null;
  }
}
