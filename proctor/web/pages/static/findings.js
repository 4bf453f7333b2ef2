// The list of a session's findings. They stay what they are from one report to the next, and so does the focus.

import { duration, element, texts, timeOf } from "./common.js";

const number = new Intl.NumberFormat(document.documentElement.lang, { maximumFractionDigits: 2 });

/** Give findings keys by which they are known again in the next report. */
export function keyed(findings) {
  const seen = new Map();
  return findings.map((each) => {
    const begun = `${each.rule} ${each.start_seconds}`;
    const nth = seen.get(begun) ?? 0;
    seen.set(begun, nth + 1);
    return { ...each, key: `${begun} ${nth}` };
  });
}

function observed({ signal, value, threshold, baseline, deviation, unit }) {
  const told = (each) => (typeof each === "number" ? number.format(each) : each);
  const parts = [`${signal} ${told(value)}`];
  if (threshold !== null && threshold !== undefined) parts.push(`${texts.threshold} ${told(threshold)}`);
  if (baseline !== null && baseline !== undefined) parts.push(`${texts.baseline} ${told(baseline)}${typeof deviation === "number" ? ` ± ${told(deviation)}` : ""}`);
  return `${parts.join(", ")}${unit ? ` (${unit})` : ""}`;
}

export class Findings {
  /** Keep the findings in `list`; `chose` is called with the key of one that somebody has picked. */
  constructor(list, chose) {
    this.list = list;
    this.chose = chose;
    this.pressed = null;
    this.shown = new Map();
  }

  /** Show these from now on; `first` is when the first frame was, or null without. */
  show(findings, first) {
    const focused = [...this.list.children].findIndex((item) => item.contains(document.activeElement));
    const before = this.shown;
    const named = keyed(findings);
    this.shown = new Map(named.map((each) => [each.key, before.get(each.key) ?? this.#made(each.key)]));
    for (const each of named) this.#tell(this.shown.get(each.key), each, first);
    this.#place([...this.shown.values()].map((each) => each.item));
    // Where what had the focus is gone, what has come in its place has it.
    if (focused >= 0 && !this.list.contains(document.activeElement)) [...this.list.querySelectorAll("button")].slice(0, focused + 1).at(-1)?.focus({ preventScroll: true });
  }

  press(key) {
    this.pressed = key;
    for (const [own, { button }] of this.shown) button.setAttribute("aria-pressed", String(own === key));
  }

  #made(key) {
    const button = element("button", { type: "button", "aria-pressed": String(key === this.pressed), onclick: () => this.chose(key) });
    return { item: element("li", {}, button), button, told: "" };
  }

  #tell(shown, finding, first) {
    const told = JSON.stringify([finding, first]);
    if (told === shown.told) return;
    shown.told = told;
    shown.button.replaceChildren(
      element("span", {}, first === null ? duration(finding.start_seconds) : timeOf(first + finding.start_seconds * 1000)),
      element("span", {}, element("span", { class: `badge ${finding.level === "concern" ? "high" : ""}` }, texts.common.level[finding.level])),
      element("span", { class: "words" }, finding.message),
      element("span", { class: "help" }, observed(finding.observed)),
    );
  }

  /** Have these in the list. What is there already is not touched, since it would lose the focus. */
  #place(items) {
    for (const old of [...this.list.children]) if (!items.includes(old)) old.remove();
    items.forEach((item, place) => {
      if (this.list.children[place] !== item) this.list.insertBefore(item, this.list.children[place] ?? null);
    });
    if (!items.length) this.list.append(element("li", {}, texts.no_findings));
  }
}
