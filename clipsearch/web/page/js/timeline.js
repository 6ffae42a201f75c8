// How many photos were taken when, as bars: click one, drag over several, or go along them with the arrow keys.

import { h } from "./dom.js";
import { count, period } from "./text.js";

const MOST_MONTHS = 60; // more bars than that are years

const next = (key) => {
  const [year, month] = key.split("-").map(Number);
  if (!month) return String(year + 1).padStart(4, "0");
  return month === 12 ? next(String(year).padStart(4, "0")) + "-01" : `${key.slice(0, 5)}${String(month + 1).padStart(2, "0")}`;
};

/** Bars from the first to the last, the empty ones between them too. */
export function bars(months, after, before) {
  const dated = months.filter(({ month }) => month !== null);
  if (!dated.length) return [];
  const year = ({ month }) => Number(month.slice(0, 4));
  let shown = dated;
  let length = 7;
  if ((year(dated.at(-1)) - year(dated[0])) * 12 > MOST_MONTHS) {
    // Of many years each is a bar; of a few of them that were chosen, each month.
    const [from, to] = [Number(after?.slice(0, 4)), Number(before?.slice(0, 4)) - /^\d{4}(-01)?$/.test(before)];
    const chosen = dated.filter((one) => year(one) >= from && year(one) <= to);
    if (chosen.length && (to - from) * 12 < MOST_MONTHS) shown = chosen;
    else length = 4;
  }
  const totals = new Map();
  for (const { month, photos } of shown) {
    const key = month.slice(0, length);
    totals.set(key, (totals.get(key) ?? 0) + photos);
  }
  const keys = [];
  const last = shown.at(-1).month.slice(0, length);
  for (let key = shown[0].month.slice(0, length); key <= last; key = next(key)) keys.push(key);
  return keys.map((key) => ({ key, photos: totals.get(key) ?? 0 }));
}

export class Timeline {
  /** @param {(after: string, before: string) => void} chosen - From the beginning of one until that of the other. */
  constructor(root, chosen) {
    this.root = root;
    this.chosen = chosen;
    this.drag = null;
    root.addEventListener("pointerdown", (event) => this.#down(event));
    root.addEventListener("pointermove", (event) => this.#move(event));
    root.addEventListener("pointerup", () => this.#up());
    root.addEventListener("pointercancel", () => this.#mark((this.drag = null)));
    root.addEventListener("keydown", (event) => this.#key(event));
    // By mouse and touch, pointer events have it; this is Enter, Space and what screen readers press.
    root.addEventListener("click", (event) => event.detail === 0 && this.#choose(this.#indexOf(event.target), this.#indexOf(event.target)));
  }

  show(months, { after, before, on }) {
    const [from, to] = on ? [on, /^\d{4}(-\d\d)?$/.test(on) ? next(on) : on] : [after, before];
    this.range = { from: from ?? "", to: to ?? "9999" };
    this.bars = bars(months, from, to);
    const most = Math.max(...this.bars.map(({ photos }) => photos), 1);
    const focused = this.root.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    this.root.replaceChildren(
      ...this.bars.map(({ key, photos }, index) => {
        const bar = h("span", { class: "bar" });
        bar.style.height = `${photos ? Math.max(100 * Math.sqrt(photos / most), 6) : 0}%`;
        const label = `${period(key)}, ${count(photos, "photo")}`;
        return h("button", { type: "button", "data-index": index, "data-key": key, "aria-label": label, title: label, tabindex: -1 }, bar);
      }),
    );
    this.root.classList.toggle("many", this.bars.length > 40);
    this.#mark(null);
    const here = this.root.querySelector(`[data-key="${focused}"]`) ?? this.root.querySelector("[aria-pressed=true]") ?? this.root.firstChild;
    if (here) here.tabIndex = 0;
    if (focused) here?.focus();
  }

  get ends() {
    return this.bars.length ? [this.bars[0].key, this.bars.at(-1).key].map(period) : [];
  }

  #indexOf(target) {
    const button = target.closest?.("button");
    return button ? Number(button.dataset.index) : -1;
  }

  #at(event) {
    const box = this.root.firstChild.getBoundingClientRect(); // all are of one width
    const index = Math.floor((event.clientX - box.left) / box.width);
    return Math.min(Math.max(index, 0), this.bars.length - 1);
  }

  #down(event) {
    if (event.button || !this.bars.length) return;
    this.root.setPointerCapture(event.pointerId);
    const index = this.#at(event);
    this.#mark((this.drag = [index, index]));
  }

  #move(event) {
    if (this.drag) this.#mark((this.drag = [this.drag[0], this.#at(event)]));
  }

  #up() {
    if (!this.drag) return;
    const [from, to] = this.drag;
    this.drag = null;
    this.#choose(Math.min(from, to), Math.max(from, to));
  }

  #choose(from, to) {
    if (from >= 0) this.chosen(this.bars[from].key, next(this.bars[to].key));
  }

  #key(event) {
    const index = this.#indexOf(event.target);
    const to = { ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: this.bars.length - 1 }[event.key];
    if (index < 0 || to === undefined || !this.bars[to]) return;
    event.preventDefault();
    for (const button of this.root.children) button.tabIndex = -1;
    const button = this.root.children[to];
    button.tabIndex = 0;
    button.focus();
    if (!event.shiftKey) {
      this.anchor = to;
      return;
    }
    this.anchor ??= index;
    this.#choose(Math.min(this.anchor, to), Math.max(this.anchor, to));
  }

  #mark(drag) {
    const [low, high] = drag ? [Math.min(...drag), Math.max(...drag)] : [0, -1];
    const { from, to } = this.range;
    const some = from || to !== "9999";
    for (const [index, { key }] of this.bars.entries()) {
      const inside = drag ? index >= low && index <= high : some && key >= from.slice(0, key.length) && key < to;
      this.root.children[index].setAttribute("aria-pressed", inside);
    }
    this.root.classList.toggle("chosen", Boolean(drag) || Boolean(some));
  }
}
