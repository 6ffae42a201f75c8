// The indexed folders as a tree; what is in one is asked for when it is opened.

import { get } from "./api.js";
import { h, icon } from "./dom.js";
import { harmless, number } from "./text.js";

export class Folders {
  /** @param {{choose: (path: string) => void, report: (error: Error) => void}} acts */
  constructor(root, acts) {
    this.root = root;
    this.acts = acts;
    root.addEventListener("keydown", (event) => this.#key(event));
  }

  async show(chosen) {
    this.chosen = chosen;
    if (!this.loaded) {
      this.loaded = true;
      try {
        const folders = await get("folders");
        this.root.replaceChildren(...folders.map((folder) => this.#item(folder, true)));
        if (folders.length === 1) await this.#toggle(this.root.querySelector("li"), true);
      } catch (error) {
        this.loaded = false;
        this.acts.report(error);
      }
    }
    this.#mark();
  }

  #mark() {
    for (const button of this.root.querySelectorAll(".folder")) {
      button.setAttribute("aria-pressed", button.closest("li").path === this.chosen);
    }
  }

  #item({ path, name, photos }, top = false) {
    const shown = harmless(name || path);
    const item = h(
      "li",
      {},
      h(
        "div",
        { class: "row" },
        h("button", { class: "open-folder", type: "button", "aria-expanded": "false", "aria-label": `Folders in ${shown}`, onclick: () => this.#toggle(item) }, icon("next")),
        h(
          "button",
          { class: "folder", type: "button", "aria-pressed": "false", title: harmless(path), onclick: () => this.acts.choose(path === this.chosen ? "" : path) },
          h("span", { class: "name" }, shown),
          h("span", { class: "photos" }, number(photos)),
        ),
      ),
    );
    item.path = path;
    item.classList.toggle("top-folder", top);
    return item;
  }

  async #toggle(item, open = !item.classList.contains("opened")) {
    const button = item.querySelector(".open-folder");
    item.classList.toggle("opened", open);
    button.setAttribute("aria-expanded", open);
    if (!open || item.querySelector("ul")) return;
    const list = h("ul", { class: "folders" });
    item.append(list);
    try {
      const inside = await get("folders", { in: item.path });
      list.replaceChildren(...inside.map((folder) => this.#item(folder)));
      if (!inside.length) item.classList.add("leaf");
      this.#mark();
    } catch (error) {
      list.remove();
      item.classList.remove("opened");
      this.acts.report(error);
    }
  }

  #key(event) {
    const item = event.target.closest("li");
    if (!item) return;
    const opened = item.classList.contains("opened");
    const all = [...this.root.querySelectorAll(".folder")].filter((button) => button.offsetParent);
    const here = all.indexOf(item.querySelector(".folder"));
    const acts = {
      ArrowRight: () => (opened ? all[here + 1]?.focus() : this.#toggle(item, true)),
      ArrowLeft: () => (opened ? this.#toggle(item, false) : item.parentElement.closest("li")?.querySelector(".folder").focus()),
      ArrowDown: () => all[here + 1]?.focus(),
      ArrowUp: () => all[here - 1]?.focus(),
    };
    if (!acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
  }
}
