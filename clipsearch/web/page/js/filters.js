// Which photos may answer: folders, dates, shape, camera, size, words, tags.

import { get } from "./api.js";
import { byId, debounced, h } from "./dom.js";
import { Folders } from "./folders.js";
import { change, filterParameters, state } from "./state.js";
import { count, harmless, number, period } from "./text.js";
import { Timeline } from "./timeline.js";

const TYPED = ["after", "before", "camera", "lens", "glob", "min_size", "text"];
const DATES = ["after", "before", "on"];
const TAGS = 60; // shown at first

/** Change some filters; an empty one is none. */
export function filter(patch, how) {
  const filters = Object.fromEntries(Object.entries({ ...state().filters, ...patch }).filter(([, value]) => value));
  change({ filters, label: "" }, how);
}

export const hasFilters = ({ filters, tags, only }) => Object.keys(filters).length > 0 || tags.length > 0 || only;

const without = (filters, names) => Object.fromEntries(Object.entries(filters).filter(([name]) => !names.includes(name)));

export class FilterPanel {
  /** @param {(error: Error) => void} report */
  constructor(report) {
    this.report = report;
    this.panel = byId("filters");
    this.folders = new Folders(byId("folder-tree"), { choose: (path) => filter({ in: path }), report });
    this.timeline = new Timeline(byId("timeline"), (after, before) => filter({ after, before, on: "" }));
    for (const name of TYPED) {
      const input = byId(`f-${name}`);
      const apply = debounced(() => filter({ [name]: input.value.trim() }, { typing: true }), 350);
      input.addEventListener("input", () => (DATES.includes(name) && !/^(\d{4}(-\d\d?(-\d\d?)?)?)?$/.test(input.value) ? null : apply()));
      input.addEventListener("change", () => apply.now());
    }
    for (const input of document.querySelectorAll("input[name=shape]")) {
      input.addEventListener("change", () => filter({ shape: input.value }));
    }
    byId("f-only").addEventListener("change", (event) => change({ only: event.target.checked }));
    byId("f-clear").addEventListener("click", () => change({ filters: {}, tags: [], only: false }));
    byId("dates-clear").addEventListener("click", () => filter({ after: "", before: "", on: "" }));
    byId("f-find-tag").addEventListener("input", () => this.#showTags());
    this.tags = [];
  }

  /** Show what is chosen; and, if the panel is open, how many photos there are of what. */
  show(current) {
    for (const name of TYPED) {
      const input = byId(`f-${name}`);
      if (input !== document.activeElement) input.value = current.filters[name] ?? "";
    }
    for (const input of document.querySelectorAll("input[name=shape]")) input.checked = input.value === (current.filters.shape ?? "");
    byId("f-only").checked = current.only;
    byId("f-clear").hidden = !hasFilters(current);
    byId("dates-clear").hidden = !DATES.some((name) => current.filters[name]);
    if (!this.panel.hidden) this.#fill(current);
  }

  async #fill(current) {
    this.folders.show(current.filters.in ?? "");
    const dateless = JSON.stringify([without(current.filters, DATES), current.tags]);
    const all = JSON.stringify([current.filters, current.tags]);
    try {
      if (this.shownMonths !== dateless) {
        this.shownMonths = dateless;
        this.months = await get("months", { ...filterParameters(current), after: "", before: "", on: "" });
      }
      if (this.shownTags !== all) {
        this.shownTags = all;
        this.tags = await get("tags", filterParameters(current));
      }
    } catch (error) {
      this.shownMonths = this.shownTags = null;
      if (error.status !== 400 && error.status !== 422) this.report(error); // those the results report
    }
    this.#showDates(state());
    this.#showTags();
  }

  #showDates(current) {
    const months = this.months ?? [];
    this.timeline.show(months, current.filters);
    const ends = this.timeline.ends;
    byId("timeline-from").textContent = ends[0] ?? "";
    byId("timeline-to").textContent = ends.length && ends[0] !== ends[1] ? ends[1] : "";
    const undated = months.find(({ month }) => month === null)?.photos ?? 0;
    byId("timeline").hidden = !ends.length;
    byId("undated").textContent = undated ? `${count(undated, "photo")} without a date` : "";
  }

  #showTags() {
    const chosen = state().tags;
    const wanted = byId("f-find-tag").value.trim().toLowerCase();
    const shown = this.tags.filter(({ tag }) => tag.toLowerCase().includes(wanted)).slice(0, TAGS);
    byId("tags-section").hidden = !this.tags.length && !chosen.length;
    byId("f-find-tag").hidden = this.tags.length <= TAGS / 2;
    byId("tag-list").replaceChildren(
      ...shown.map(({ tag, photos }) => {
        const toggle = () => change({ tags: chosen.includes(tag) ? chosen.filter((other) => other !== tag) : [...chosen, tag] });
        return h(
          "button",
          { class: "tag", type: "button", "aria-pressed": chosen.includes(tag), onclick: toggle },
          harmless(tag),
          h("span", { class: "photos" }, number(photos)),
        );
      }),
    );
  }
}

/** The filters in words, each with what takes it away. */
export function filterChips({ filters, tags, only }) {
  const drop = (...names) => () => filter(Object.fromEntries(names.map((name) => [name, ""])));
  const chips = [];
  const { after, before } = filters;
  if (filters.in) chips.push({ icon: "folder", text: harmless(filters.in.split(/[\\/]/).filter(Boolean).at(-1) ?? filters.in), title: filters.in, drop: drop("in") });
  if (after || before) chips.push({ icon: "date", text: range(after, before), drop: drop("after", "before") });
  if (filters.on) chips.push({ icon: "date", text: period(filters.on), drop: drop("on") });
  if (filters.shape) chips.push({ icon: "shape", text: filters.shape, drop: drop("shape") });
  if (filters.camera) chips.push({ icon: "camera", text: filters.camera, drop: drop("camera") });
  if (filters.lens) chips.push({ icon: "camera", text: `lens ${filters.lens}`, drop: drop("lens") });
  if (filters.glob) chips.push({ icon: "file", text: filters.glob, drop: drop("glob") });
  if (filters.min_size) chips.push({ icon: "shape", text: `at least ${filters.min_size}`, drop: drop("min_size") });
  if (filters.text) chips.push({ icon: "text", text: filters.text, title: "Words in it or in its caption", drop: drop("text") });
  if (filters.near) {
    const text = `within ${filters.within ?? "10 km"} of ${filters.near}`;
    chips.push({ icon: "place", text, drop: drop("near", "within") });
  }
  for (const tag of tags) {
    chips.push({ icon: "tag", text: harmless(tag), drop: () => change({ tags: state().tags.filter((other) => other !== tag) }) });
  }
  if (only) chips.push({ icon: "check", text: "only matches", drop: () => change({ only: false }) });
  return chips;
}

/** What is from one moment until right before another, as short as it can be said. */
function range(after, before) {
  if (!before) return `since ${period(after)}`;
  if (!after) return `before ${period(before)}`;
  const last = lastOf(before, after.length);
  if (!last) return `${period(after)} until ${period(before)}`;
  return last === after ? period(after) : `${period(after)} – ${period(last)}`;
}

function lastOf(before, length) {
  if (before.length !== length || (length !== 4 && length !== 7)) return null;
  if (length === 4) return String(Number(before) - 1).padStart(4, "0");
  const [year, month] = before.split("-").map(Number);
  return month > 1 ? `${before.slice(0, 5)}${String(month - 1).padStart(2, "0")}` : `${String(year - 1).padStart(4, "0")}-12`;
}
