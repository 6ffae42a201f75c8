// Photos that were picked, and what can be done with them: their paths, a list, an archive.

import { get } from "./api.js";
import { byId, h } from "./dom.js";
import { toast } from "./notices.js";
import { copied, count, number, pathBytes } from "./text.js";

const ARCHIVE = 1000; // photos, at most; the server's own limit
const ALL = 20_000; // photos that "select all" asks for, at most

async function toClipboard(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Without HTTPS on another machine than this one there is no clipboard but this.
  const area = h("textarea", { class: "unseen", "aria-hidden": "true" });
  area.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("not allowed");
  return undefined;
}

export async function copyPaths(photos) {
  try {
    await toClipboard(photos.map(({ path }) => copied(path)).join("\n"));
    toast(photos.length === 1 ? "Path copied" : `${number(photos.length)} paths copied`);
  } catch {
    toast("The browser does not let this page copy");
  }
}

export class Selection {
  /** @param {{changed: () => void, results: () => import("./results.js").Results, report: (error: Error) => void}} page */
  constructor(page) {
    this.page = page;
    this.photos = new Map();
    this.last = -1;
    const on = (id, act) => byId(id).addEventListener("click", act);
    on("s-copy", () => copyPaths(this.list));
    on("s-save", () => this.save());
    on("s-archive", () => this.archive());
    on("s-all", () => this.all());
    on("s-clear", () => this.clear());
  }

  get list() {
    return [...this.photos.values()];
  }

  has(photo) {
    return this.photos.has(photo.id);
  }

  /** Select a photo or let go of it; with `range`, all since the last. */
  async toggle(index, range = false, photo = this.page.results().at(index)) {
    if (!photo) return;
    if (range && this.last >= 0 && index >= 0) {
      await this.extend(this.last, index);
      return;
    }
    if (!this.photos.delete(photo.id)) this.photos.set(photo.id, photo);
    this.last = index;
    this.#changed();
  }

  async extend(from, to) {
    try {
      for (const photo of await this.page.results().range(Math.min(from, to), Math.max(from, to))) this.photos.set(photo.id, photo);
    } catch (error) {
      if (error.name !== "AbortError") this.page.report(error);
    }
    this.last = to;
    this.#changed();
  }

  add(indexes) {
    for (const index of indexes) {
      const photo = this.page.results().at(index);
      if (photo) this.photos.set(photo.id, photo);
    }
    this.#changed();
  }

  async all() {
    const { total } = this.page.results();
    if (total) await this.extend(0, Math.min(total, ALL) - 1);
  }

  clear() {
    this.photos.clear();
    this.last = -1;
    this.#changed();
  }

  /** Other results: what is selected stays, ranges begin anew. */
  elsewhere() {
    this.last = -1;
    this.#changed();
  }

  save() {
    const file = new Blob(pathBytes(this.list.map(({ path }) => path)), { type: "text/plain" });
    const address = URL.createObjectURL(file);
    h("a", { href: address, download: "photos.txt" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  }

  async archive() {
    if (this.photos.size > ARCHIVE) {
      toast(`An archive holds ${number(ARCHIVE)} photos at most; ${number(this.photos.size)} are selected`);
      return;
    }
    try {
      await get("status"); // a form that nobody answers would take this page away
    } catch (error) {
      this.page.report(error);
      return;
    }
    const form = h("form", { method: "post", action: "api/archive", hidden: true });
    form.append(...[...this.photos.keys()].map((id) => h("input", { type: "hidden", name: "ids", value: id })));
    document.body.append(form);
    form.submit();
    form.remove();
    toast(`Preparing an archive of ${count(this.photos.size, "photo")}`);
  }

  #changed() {
    const { size } = this.photos;
    const { total } = this.page.results() ?? {};
    byId("selection").hidden = size === 0;
    byId("s-count").textContent = `${number(size)} selected`;
    byId("s-all").hidden = !total || total > ALL || size >= total;
    byId("s-total").textContent = number(total ?? 0);
    document.body.classList.toggle("selecting", size > 0);
    this.page.changed();
  }
}
