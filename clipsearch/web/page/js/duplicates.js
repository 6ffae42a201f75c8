// Photos that are the same, or nearly, side by side in groups, with the best of each marked. Nothing is deleted.

import { get, thumbnail } from "./api.js";
import { byId, h, icon } from "./dom.js";
import { onHold } from "./hold.js";
import { change, filterParameters } from "./state.js";
import { bytes, count, fileName, folderOf, harmless, number } from "./text.js";

const AT_ONCE = 40; // groups that are drawn at first, and each time their end comes near
const AHEAD = "1200px";
const KINDS = { best: "Best", exact: "Same bytes", similar: "Same picture", burst: "Same burst" };
/** What the server is asked for, by what is chosen. */
const CHOICES = { "": {}, exact: { similar: 0 }, bursts: { bursts: 1 } };

export class Duplicates {
  /**
   * @param {object} acts - found(photos): what the indexes below are of. open(index), toggle(index, range),
   *   select(indexes), isSelected(photo), href(photo).
   */
  constructor(acts) {
    this.acts = acts;
    this.root = byId("groups");
    this.photos = [];
    this.groups = [];
    this.active = 0;
    this.root.addEventListener("click", (event) => this.#clicked(event));
    onHold(this.root, (event) => this.#indexOf(event) >= 0 && acts.toggle(this.#indexOf(event), false));
    this.root.addEventListener("keydown", (event) => this.#moved(event));
    this.root.addEventListener("focusin", (event) => this.#activate(this.#indexOf(event)));
    byId("d-all").addEventListener("click", () => acts.select(this.photos.flatMap(({ kind }, index) => (kind === "best" ? [] : [index]))));
    for (const input of document.querySelectorAll("input[name=copies]")) {
      input.addEventListener("change", () => change({ copies: input.value }));
    }
    this.end = h("div", { class: "end" });
    new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && this.#draw(), { rootMargin: AHEAD }).observe(this.end);
  }

  async show(current, signal) {
    for (const input of document.querySelectorAll("input[name=copies]")) input.checked = input.value === current.copies;
    byId("d-all").hidden = true;
    this.root.replaceChildren();
    byId("summary").textContent = "Comparing photos…";
    const asked = { ...CHOICES[current.copies], ...filterParameters(current) };
    this.photos = await get("duplicates", asked, { signal });
    this.groups = [];
    for (const [index, { group }] of this.photos.entries()) (this.groups[group - 1] ??= []).push(index);
    this.groups = this.groups.filter(Boolean); // one may have left the library meanwhile
    this.drawn = 0;
    this.active = 0;
    this.acts.found(this.photos);
    byId("d-all").hidden = !this.groups.length;
    byId("summary").textContent = this.#summary();
    this.root.replaceChildren(this.end);
    this.#draw();
  }

  refresh() {
    for (const item of this.root.querySelectorAll(".copy")) this.#mark(item);
  }

  focus(index) {
    while (this.drawn < this.groups.length && !this.#item(index)) this.#draw();
    this.#item(index)?.querySelector(".open").focus();
  }

  #summary() {
    if (!this.groups.length) return "";
    return `${count(this.groups.length, "group")}, ${bytes(this.#spare(this.photos))} beside the best`;
  }

  #spare = (photos) => photos.reduce((sum, { kind, size }) => sum + (kind === "best" ? 0 : size), 0);

  #draw() {
    const next = this.groups.slice(this.drawn, this.drawn + AT_ONCE);
    const sections = next.map((indexes, offset) => this.#group(indexes, this.drawn + offset + 1));
    this.drawn += next.length;
    this.end.before(...sections);
    this.#activate(this.active);
  }

  #group(indexes, place) {
    const photos = indexes.map((index) => this.photos[index]);
    const others = indexes.filter((index) => this.photos[index].kind !== "best");
    return h(
      "section",
      { class: "group", "aria-label": `Group ${number(place)}` },
      h(
        "div",
        { class: "group-head" },
        h("h2", {}, count(photos.length, "photo")),
        h("span", { class: "faint" }, `${bytes(this.#spare(photos))} beside the best`),
        h("button", { class: "link", type: "button", onclick: () => this.acts.select(others) }, "Select all but the best"),
      ),
      h("ul", { class: "copies" }, ...indexes.map((index) => this.#copy(index))),
    );
  }

  #copy(index) {
    const photo = this.photos[index];
    const name = fileName(photo.path);
    const facts = `${number(photo.width)} × ${number(photo.height)}, ${bytes(photo.size)}`;
    const image = h("img", { src: thumbnail(photo, 512), alt: "", loading: "lazy", decoding: "async", draggable: "false" });
    image.addEventListener("error", () => image.replaceWith(h("span", { class: "blank" }, icon("broken"), "cannot be read")));
    const item = h(
      "li",
      { class: `copy ${photo.kind}`, "data-index": index },
      h("a", { class: "open", href: this.acts.href(photo), draggable: "false", tabindex: -1, "aria-label": `${KINDS[photo.kind]}: ${name}, ${facts}` }, image),
      h("button", { class: "check", type: "button", role: "checkbox", tabindex: -1, "aria-label": `Select ${name}` }, icon("check")),
      h("p", { class: "kind" }, KINDS[photo.kind]),
      h("p", {}, facts),
      h("p", { class: "name", title: harmless(photo.path) }, name),
      h("p", { class: "where", title: harmless(photo.path) }, h("bdi", {}, harmless(folderOf(photo.path)))),
    );
    this.#mark(item);
    return item;
  }

  #mark(item) {
    const selected = this.acts.isSelected(this.photos[item.dataset.index]);
    item.classList.toggle("selected", selected);
    item.querySelector(".check").setAttribute("aria-checked", selected);
  }

  #item = (index) => this.root.querySelector(`[data-index="${index}"]`);

  #indexOf = (event) => Number(event.target.closest?.("[data-index]")?.dataset.index ?? -1);

  /** The one photo that Tab comes to; the arrow keys go to the others. */
  #activate(index) {
    if (index < 0) return;
    for (const [which, tabIndex] of [[this.active, -1], [index, 0]]) {
      for (const part of this.#item(which)?.querySelectorAll("a, button") ?? []) part.tabIndex = tabIndex;
    }
    this.active = index;
  }

  #clicked(event) {
    const index = this.#indexOf(event);
    if (index < 0) return;
    if (event.target.closest("button") || event.shiftKey) this.acts.toggle(index, event.shiftKey);
    else if (event.ctrlKey || event.metaKey || event.button) return; // a new tab
    else this.acts.open(index);
    event.preventDefault();
  }

  #moved(event) {
    const index = this.#indexOf(event);
    if (event.ctrlKey || event.metaKey || event.altKey || index < 0) return;
    const last = this.photos.length - 1;
    const here = this.groups.findIndex((group) => group.includes(index));
    const to = {
      ArrowLeft: () => index - 1,
      ArrowRight: () => index + 1,
      ArrowUp: () => this.groups[Math.max(here - 1, 0)][0],
      ArrowDown: () => this.groups[Math.min(here + 1, this.groups.length - 1)][0],
      Home: () => 0,
      End: () => last,
    }[event.key]?.();
    if (to === undefined) return;
    event.preventDefault();
    this.focus(Math.min(Math.max(to, 0), last));
  }
}
