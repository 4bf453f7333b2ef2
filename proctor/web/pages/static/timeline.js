// A session over time: findings, evidence by window, and signals, one above the other on one axis.

import { drawn, duration, texts } from "./common.js";

const LEFT = 130;
const AXIS = 22;
const FINDING_LANE = 22;
const WINDOW_LANE = 44;
const SIGNAL_LANE = 72;
const GAP = 10;
const LEAST_SECONDS = 5;
const TICKS = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200];

export class Timeline {
  /** Draw into `holder`; `chose` is called with the number of a finding that somebody has picked. */
  constructor(holder, chose) {
    this.holder = holder;
    this.chose = chose;
    this.content = { seconds: 1, findings: [], windows: [], gaps: [], breaks: [], diagrams: [], events: [], milestones: [] };
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
    if (this.whole) [this.from, this.to] = [0, content.seconds];
    this.draw();
  }

  all() {
    this.look(0, this.content.seconds);
  }

  zoom(factor, around = (this.from + this.to) / 2) {
    this.look(around - (around - this.from) * factor, around + (this.to - around) * factor);
  }

  /** Have a finding in the middle, with as much around it. */
  choose(number) {
    this.chosen = number;
    const found = this.content.findings[number];
    const room = Math.max(30, 2 * (found.end_seconds - found.start_seconds));
    this.look(found.start_seconds - room, found.end_seconds + room);
  }

  look(from, to) {
    const length = Math.min(this.content.seconds, Math.max(LEAST_SECONDS, to - from));
    const middle = (from + to) / 2;
    this.from = Math.max(0, Math.min(middle - length / 2, this.content.seconds - length));
    this.to = this.from + length;
    this.whole = length >= this.content.seconds;
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
      drawn("svg", { height: top, viewBox: `0 0 ${width} ${top}`, role: "img", "aria-label": texts.timeline }, clip, ...this.#axis(top), ...ground, ...body, ...this.#milestones(top)),
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
      marks.push(drawn("line", { class: "lane", x1: x, x2: x, y1: AXIS, y2: height }), drawn("text", { x: x + 3, y: 14 }, duration(at)));
    }
    return marks;
  }

  #band(name, span, height, title) {
    if (!this.#shown(span.start_seconds, span.end_seconds)) return null;
    return drawn("rect", { class: name, y: AXIS, height: height - AXIS, ...this.#span(span.start_seconds, span.end_seconds, 1) }, drawn("title", {}, title));
  }

  #findings(rule, y, height) {
    return this.content.findings.flatMap((each, number) => {
      if (each.rule !== rule || !this.#shown(each.start_seconds, each.end_seconds)) return [];
      const tall = each.level === "concern" ? height : height / 2;
      const mark = drawn(
        "rect",
        { class: `${each.level}${number === this.chosen ? " chosen" : ""}`, y: y + height - tall, height: tall, rx: 2, ...this.#span(each.start_seconds, each.end_seconds) },
        drawn("title", {}, each.message),
      );
      mark.addEventListener("click", () => this.chose(number));
      return [mark];
    });
  }

  #windows(y, height) {
    return this.content.windows
      .filter((each) => each.confidence > 0 && this.#shown(each.start_seconds, each.end_seconds))
      .map((each) => drawn("rect", { class: "window", y: y + height * (1 - each.confidence), height: height * each.confidence, ...this.#span(each.start_seconds, each.end_seconds, 1) }));
  }

  #signals(diagram, y, height) {
    const known = diagram.lines.flatMap((line) => line.values.filter((value) => value !== null));
    const names = new Set(diagram.lines.map((line) => line.name));
    // A threshold in seconds is one of how long, and has no place among the values.
    const marked = (each) => (each.observed.unit === "s" ? ["baseline"] : ["threshold", "baseline"]).map((name) => [name, each.observed[name]]).filter(([, value]) => typeof value === "number");
    const bounds = this.content.findings.filter((each) => names.has(each.observed.signal) && this.#shown(each.start_seconds, each.end_seconds));
    known.push(...bounds.flatMap(marked).map(([, value]) => value));
    // Thousands of values are too many to be arguments of one call.
    const low = known.reduce((least, value) => Math.min(least, value), Infinity);
    const high = known.reduce((most, value) => Math.max(most, value), -Infinity);
    const place = (value) => y + height - (high > low ? (value - low) / (high - low) : 0.5) * height;
    const drawings = diagram.lines.map((line, index) => drawn("path", { class: index ? "signal second" : "signal", "clip-path": "url(#plot)", d: this.#path(line, diagram.steps, place) }, drawn("title", {}, line.name)));
    for (const each of bounds) {
      for (const [name, value] of marked(each)) {
        const { x, width } = this.#span(each.start_seconds, each.end_seconds, 12);
        drawings.push(drawn("path", { class: name, d: `M${x} ${place(value)}h${width}` }, drawn("title", {}, `${texts[name]} ${value}`)));
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
      .map((each) => drawn("rect", { class: "happening", x: this.#x(each.seconds) - 1, y, width: 3, height }, drawn("title", {}, `${duration(each.seconds)} ${each.name}`)));
  }

  #milestones(height) {
    return this.content.milestones
      .filter((each) => this.#shown(each.seconds, each.seconds))
      .map((each) => drawn("line", { class: "milestone", x1: this.#x(each.seconds), x2: this.#x(each.seconds), y1: 0, y2: height }, drawn("title", {}, `${duration(each.seconds)} ${each.name}`)));
  }

  #wheel(event) {
    if (!event.ctrlKey && !event.shiftKey && Math.abs(event.deltaY) > Math.abs(event.deltaX)) return;
    event.preventDefault();
    const box = this.holder.getBoundingClientRect();
    const at = this.from + ((event.clientX - box.left - this.left) / (this.width - this.left)) * (this.to - this.from);
    if (event.ctrlKey || event.shiftKey) this.zoom((event.deltaY || event.deltaX) > 0 ? 1.25 : 0.8, at);
    else this.#move((event.deltaX / this.width) * (this.to - this.from));
  }

  #drag(event) {
    if (event.button !== 0) return;
    let last = event.clientX;
    const move = (moved) => {
      this.#move(((last - moved.clientX) / (this.width - this.left)) * (this.to - this.from));
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

  #move(seconds) {
    this.look(this.from + seconds, this.to + seconds);
  }

  #key(event) {
    const step = (this.to - this.from) / 5;
    const acts = { ArrowLeft: () => this.#move(-step), ArrowRight: () => this.#move(step), "+": () => this.zoom(0.6), "-": () => this.zoom(1.6), Home: () => this.all() };
    if (!(event.key in acts)) return;
    event.preventDefault();
    acts[event.key]();
  }
}
