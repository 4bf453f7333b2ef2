// A session over time: milestones, findings, evidence by window, and signals, one above the other on one axis.
// Times are seconds since the first frame; what was before has negative ones.

import { drawn, duration, texts } from "./common.js";

const LEFT = 130;
const AXIS = 22;
const FINDING_LANE = 22;
const WINDOW_LANE = 44;
const SIGNAL_LANE = 72;
const GAP = 10;
const MILESTONE_LANE = 30;
const MARK = 8;
// Of a label's characters, in pixels, rather too much: no label may run into the next.
const CHARACTER = 7;
const LEAST_SECONDS = 5;
const TICKS = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200];

const figure = new Intl.NumberFormat(document.documentElement.lang, { maximumFractionDigits: 4 });

// What signals are measured in. A limit in anything else is one of how long or how often, with no place among them.
const UNITS = { gazePoint_x: "px", gazePoint_y: "px" };

const clock = (seconds) => (Math.round(seconds) < 0 ? `−${duration(-seconds)}` : duration(seconds));

/** What a finding's signal was compared with: what is usual for this person, and from where on it is not. */
function levels({ signal, threshold, baseline, deviation, unit }) {
  const found = [];
  if (typeof baseline === "number") {
    found.push(["baseline", baseline]);
    if (typeof deviation === "number") found.push(["threshold", baseline - deviation], ["threshold", baseline + deviation]);
  }
  if (typeof threshold === "number" && unit === (UNITS[signal] ?? "1")) found.push(["threshold", threshold]);
  return found;
}

export class Timeline {
  /** Draw into `holder`; `chose` is called with the key of a finding that somebody has picked. */
  constructor(holder, chose) {
    this.holder = holder;
    this.chose = chose;
    this.content = { begin: 0, end: 1, findings: [], windows: [], flagged: null, gaps: [], breaks: [], diagrams: [], events: [], milestones: [] };
    this.from = 0;
    this.to = 1;
    this.whole = true;
    this.chosen = null;
    new ResizeObserver(() => this.draw()).observe(holder);
    holder.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    holder.addEventListener("pointerdown", (event) => this.#drag(event));
    holder.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Show this from now on, at the same place. */
  show(content) {
    this.content = content;
    if (this.whole) [this.from, this.to] = [content.begin, content.end];
    this.draw();
  }

  all() {
    this.look(this.content.begin, this.content.end);
  }

  zoom(factor, around = (this.from + this.to) / 2) {
    this.look(around - (around - this.from) * factor, around + (this.to - around) * factor);
  }

  /** Go on by this share of what is seen, back if it is negative. */
  move(share) {
    const seconds = share * (this.to - this.from);
    this.look(this.from + seconds, this.to + seconds);
  }

  /** Have a finding in the middle, with as much around it. */
  choose(key) {
    this.chosen = key;
    const found = this.content.findings.find((each) => each.key === key);
    const room = Math.max(30, 2 * (found.end_seconds - found.start_seconds));
    this.look(found.start_seconds - room, found.end_seconds + room);
  }

  look(from, to) {
    const { begin, end } = this.content;
    const length = Math.min(end - begin, Math.max(LEAST_SECONDS, to - from));
    const middle = (from + to) / 2;
    this.from = Math.max(begin, Math.min(middle - length / 2, end - length));
    this.to = this.from + length;
    this.whole = length >= end - begin;
    this.draw();
  }

  draw() {
    const width = this.holder.clientWidth;
    if (!width) return;
    this.left = width < 600 ? 0 : LEFT;
    this.width = width;
    const rules = [...new Map(this.content.findings.map((each) => [each.rule, each.title])).entries()];
    const body = [];
    let top = AXIS;
    const lane = (name, height, make) => {
      body.push(drawn("line", { class: "lane", x1: 0, x2: width, y1: top + height + GAP / 2, y2: top + height + GAP / 2 }));
      body.push(...make(top, height));
      body.push(drawn("text", { x: 4, y: top + (this.left ? height / 2 + 4 : 10) }, name));
      top += height + GAP;
    };
    lane(texts.milestones, MILESTONE_LANE, (y, height) => this.#milestones(y, height));
    for (const [rule, title] of rules) lane(title, FINDING_LANE, (y, height) => this.#findings(rule, y, height));
    lane(texts.evidence, WINDOW_LANE, (y, height) => this.#windows(y, height));
    for (const diagram of this.content.diagrams) lane(diagram.title, SIGNAL_LANE, (y, height) => this.#signals(diagram, y, height));
    if (this.content.events.length) lane(texts.events, FINDING_LANE, (y, height) => this.#events(y, height));
    const ground = [
      ...this.content.gaps.map((each) => this.#band("gap", each, top, texts.gap)),
      ...this.content.breaks.map((each) => this.#band("break", each, top, texts.break)),
    ].filter(Boolean);
    const clip = drawn("clipPath", { id: "plot" }, drawn("rect", { x: this.left, y: 0, width: width - this.left, height: top }));
    this.holder.replaceChildren(
      drawn("svg", { height: top, viewBox: `0 0 ${width} ${top}`, role: "img", "aria-label": texts.timeline }, clip, ...this.#axis(top), ...ground, ...body, ...this.#milestoneLines(top)),
    );
  }

  #x(seconds) {
    return this.left + ((seconds - this.from) / (this.to - this.from)) * (this.width - this.left);
  }

  #span(start, end, least = 3) {
    const x = Math.max(this.left, this.#x(start));
    return { x: x.toFixed(1), width: Math.max(least, Math.min(this.width, this.#x(end)) - x).toFixed(1) };
  }

  #shown(start, end) {
    return end >= this.from && start <= this.to;
  }

  #axis(height) {
    const step = TICKS.find((each) => (this.to - this.from) / each <= Math.max(2, (this.width - this.left) / 90)) ?? TICKS.at(-1);
    const marks = [];
    for (let at = Math.ceil(this.from / step) * step; at <= this.to; at += step) {
      const x = this.#x(at);
      marks.push(drawn("line", { class: "lane", x1: x, x2: x, y1: AXIS, y2: height }), drawn("text", { x: x + 3, y: 14 }, clock(at)));
    }
    return marks;
  }

  #band(name, span, height, title) {
    if (!this.#shown(span.start_seconds, span.end_seconds)) return null;
    return drawn("rect", { class: name, y: AXIS, height: height - AXIS, ...this.#span(span.start_seconds, span.end_seconds, 1) }, drawn("title", {}, title));
  }

  #findings(rule, y, height) {
    return this.content.findings.flatMap((each) => {
      if (each.rule !== rule || !this.#shown(each.start_seconds, each.end_seconds)) return [];
      const tall = each.level === "concern" ? height : height / 2;
      const mark = drawn(
        "rect",
        { class: `${each.level}${each.key === this.chosen ? " chosen" : ""}`, y: y + height - tall, height: tall, rx: 2, ...this.#span(each.start_seconds, each.end_seconds) },
        drawn("title", {}, each.message),
      );
      mark.addEventListener("click", () => this.chose(each.key));
      return [mark];
    });
  }

  #windows(y, height) {
    const { windows, flagged } = this.content;
    const bars = windows
      .filter((each) => each.confidence > 0 && this.#shown(each.start_seconds, each.end_seconds))
      .map((each) => drawn("rect", { class: "window", y: y + height * (1 - each.confidence), height: height * each.confidence, ...this.#span(each.start_seconds, each.end_seconds, 1) }));
    if (flagged !== null) bars.push(drawn("path", { class: "threshold", d: `M${this.left} ${y + height * (1 - flagged)}H${this.width}` }, drawn("title", {}, `${texts.threshold} ${figure.format(flagged)}`)));
    return bars;
  }

  #signals(diagram, y, height) {
    const known = diagram.lines.flatMap((line) => line.values.filter((value) => value !== null));
    const names = new Set(diagram.lines.map((line) => line.name));
    const bounds = this.content.findings.filter((each) => names.has(each.observed.signal) && this.#shown(each.start_seconds, each.end_seconds));
    known.push(...bounds.flatMap((each) => levels(each.observed)).map(([, value]) => value));
    // Thousands of values are too many to be arguments of one call.
    const low = known.reduce((least, value) => Math.min(least, value), Infinity);
    const high = known.reduce((most, value) => Math.max(most, value), -Infinity);
    const place = (value) => y + height - (high > low ? (value - low) / (high - low) : 0.5) * height;
    const drawings = diagram.lines.map((line, index) => drawn("path", { class: index ? "signal second" : "signal", "clip-path": "url(#plot)", d: this.#path(line, diagram.steps, place) }, drawn("title", {}, line.name)));
    for (const each of bounds) {
      for (const [name, value] of levels(each.observed)) {
        const { x, width } = this.#span(each.start_seconds, each.end_seconds, 12);
        drawings.push(drawn("path", { class: name, d: `M${x} ${place(value)}h${width}` }, drawn("title", {}, `${texts[name]} ${figure.format(value)}`)));
      }
    }
    return drawings;
  }

  #path(line, steps, place) {
    const { seconds, values } = line;
    let path = "";
    let on = false;
    for (let index = 0; index < seconds.length; index += 1) {
      const near = (seconds[index + 1] ?? Infinity) >= this.from && (seconds[index - 1] ?? -Infinity) <= this.to;
      if (values[index] === null || !near) {
        on = false;
        continue;
      }
      const x = this.#x(seconds[index]).toFixed(1);
      const y = place(values[index]).toFixed(1);
      path += on ? (steps ? `H${x}V${y}` : `L${x} ${y}`) : `M${x} ${y}`;
      on = true;
    }
    return path;
  }

  #events(y, height) {
    return this.content.events
      .filter((each) => this.#shown(each.seconds, each.seconds))
      .map((each) => drawn("rect", { class: "happening", x: this.#x(each.seconds) - 1, y, width: 3, height }, drawn("title", {}, `${clock(each.seconds)} ${each.name}`)));
  }

  #shownMilestones() {
    return this.content.milestones
      .filter((each) => this.#shown(each.seconds, each.seconds))
      .map((each) => ({ ...each, x: Math.max(this.left + 1, Math.min(this.width - 1, this.#x(each.seconds))) }));
  }

  #milestoneLines(height) {
    return this.#shownMilestones().map(({ x }) => drawn("line", { class: "milestone", x1: x, x2: x, y1: AXIS, y2: height }));
  }

  /** A dot for each, and its name beside it where it runs into none of the others. */
  #milestones(y, height) {
    const shown = this.#shownMilestones();
    let taken = this.left;
    return shown.flatMap(({ x, seconds, name }, place) => {
      const room = MARK + name.length * CHARACTER;
      const dot = drawn("circle", { class: "milestone", cx: x, cy: y + height - 6, r: 4 }, drawn("title", {}, `${clock(seconds)} ${name}`));
      const after = x + room <= (shown[place + 1]?.x ?? this.width + MARK) - MARK;
      const before = !after && x - room >= taken;
      taken = x + (after ? room : MARK);
      if (!after && !before) return [dot];
      return [dot, drawn("text", { class: "milestone", x: after ? x + MARK : x - MARK, y: y + height - 2, "text-anchor": after ? "start" : "end" }, name)];
    });
  }

  #wheel(event) {
    if (!event.ctrlKey && !event.shiftKey && Math.abs(event.deltaY) > Math.abs(event.deltaX)) return;
    event.preventDefault();
    const box = this.holder.getBoundingClientRect();
    const at = this.from + ((event.clientX - box.left - this.left) / (this.width - this.left)) * (this.to - this.from);
    if (event.ctrlKey || event.shiftKey) this.zoom((event.deltaY || event.deltaX) > 0 ? 1.25 : 0.8, at);
    else this.move(event.deltaX / this.width);
  }

  #drag(event) {
    if (event.button !== 0) return;
    let last = event.clientX;
    const move = (moved) => {
      this.move((last - moved.clientX) / (this.width - this.left));
      last = moved.clientX;
    };
    const stop = () => {
      removeEventListener("pointermove", move);
      removeEventListener("pointerup", stop);
      removeEventListener("pointercancel", stop);
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", stop);
    addEventListener("pointercancel", stop);
  }

  #key(event) {
    const acts = { ArrowLeft: () => this.move(-0.2), ArrowRight: () => this.move(0.2), "+": () => this.zoom(0.6), "-": () => this.zoom(1.6), Home: () => this.all() };
    if (!(event.key in acts)) return;
    event.preventDefault();
    acts[event.key]();
  }
}
