// Photos sorted by labels of one's own: how many of each, and the surest of them.

import { get, thumbnail } from "./api.js";
import { byId, debounced, h } from "./dom.js";
import { change, filterParameters, isClassify, state } from "./state.js";
import { count, fileName, harmless } from "./text.js";

const SUREST = 12;
const MOST = 1000; // of one label, when it is opened

export const labelsOf = (typed) => [...new Set(typed.split(/[,\n]/).map((label) => label.trim()).filter(Boolean))];

const ask = (current, top, signal) =>
  get("classify/summary", { label: labelsOf(current.labels), top, min_prob: current.sure, ...filterParameters(current) }, { signal });

/** The surest photos of one label, the surest first. */
export async function photosOf(current, signal) {
  const summary = await ask(current, MOST, signal);
  return summary.find(({ label }) => label === current.label)?.surest ?? [];
}

export class Classify {
  /** @param {{failed: (error: Error) => void, ready: () => void, open: (photos: object[], index: number) => void}} acts */
  constructor(acts) {
    this.acts = acts;
    this.section = byId("classify");
    const input = byId("labels");
    const apply = debounced(() => change({ labels: input.value, label: "" }, { typing: true }), 300);
    input.addEventListener("input", apply);
    byId("classify-form").addEventListener("submit", (event) => {
      event.preventDefault();
      apply.now();
    });
    byId("sure").addEventListener("change", (event) => change({ sure: event.target.value }));
    byId("label-back").addEventListener("click", () => change({ label: "" }));
    for (const button of document.querySelectorAll("#suggestions button")) {
      button.addEventListener("click", () => change({ labels: button.textContent }));
    }
  }

  async show(current) {
    const input = byId("labels");
    if (input !== document.activeElement) input.value = current.labels;
    byId("sure").value = current.sure;
    const labels = labelsOf(current.labels);
    byId("suggestions").hidden = labels.length > 0;
    this.section.hidden = Boolean(current.label);
    byId("label-name").textContent = harmless(current.label);
    if (current.label) return;
    this.abort?.abort();
    this.abort = new AbortController();
    if (labels.length < 1) {
      byId("labels-list").replaceChildren();
      this.acts.ready();
      return;
    }
    try {
      const summary = await ask(current, SUREST, this.abort.signal);
      this.#draw(summary);
      this.acts.ready();
    } catch (error) {
      if (error.name !== "AbortError") this.acts.failed(error);
    }
  }

  #draw(summary) {
    const most = Math.max(...summary.map(({ photos }) => photos), 1);
    const all = summary.reduce((sum, { photos }) => sum + photos, 0);
    byId("labels-list").replaceChildren(...summary.map((one) => this.#row(one, most, all)));
  }

  #row({ label, photos, surest }, most, all) {
    const bar = h("span", { class: "label-bar" });
    bar.style.width = `${(100 * photos) / most}%`;
    const share = all ? `${((100 * photos) / all).toFixed(1)} %` : "";
    const strip = surest.map((photo, index) => {
      const sure = `${Math.round(100 * photo.probability)} %`;
      return h(
        "li",
        {},
        h(
          "button",
          { type: "button", class: "thumb", "aria-label": `${fileName(photo.path)}, ${sure}`, onclick: () => this.acts.open(surest, index) },
          h("img", { src: thumbnail(photo, 256), alt: "", loading: "lazy", decoding: "async", draggable: "false" }),
          h("span", { class: "sure" }, sure),
        ),
      );
    });
    return h(
      "section",
      { class: "label-row" },
      h(
        "h2",
        {},
        h(
          "button",
          { type: "button", class: "label", disabled: !photos, onclick: () => change({ label }) },
          h("span", { class: "label-words" }, harmless(label)),
          h("span", { class: "label-count" }, `${count(photos, "photo")}${share && ` · ${share}`}`),
          h("span", { class: "label-track" }, bar),
        ),
      ),
      surest.length ? h("ul", { class: "strip" }, ...strip) : h("p", { class: "none" }, "No photo is like this more than like the others."),
    );
  }

  /** In a line: what is to be seen. */
  static summary(current, total) {
    return current.label ? `${count(total, "photo")}, the surest first` : "";
  }
}

export const isOfLabel = () => isClassify(state()) && Boolean(state().label);
