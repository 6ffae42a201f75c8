// The photos, in rows. Only those near the screen are in the document, however many there are.

import { isVideo, momentOf, thumbnail } from "./api.js";
import { h, icon } from "./dom.js";
import { onHold } from "./hold.js";
import { place } from "./layout.js";
import { BLOCK } from "./results.js";
import { fileName, moment } from "./text.js";

const GAP = 6;
const NARROW_GAP = 3;
const DIVIDER = 84; // pixels that the line between matches and the rest takes
const AHEAD = 700; // pixels above and below the screen that are ready
const FLING = 3; // pixels a millisecond; when scrolled faster, pictures wait
const USUAL_ASPECT = 1.4;
const HIGHEST = 15_000_000; // pixels: browsers lay out no more

export class Grid {
  /**
   * @param {HTMLElement} root
   * @param {object} acts - What happens: open(index), menu(photo, button, index), toggle(index, range),
   *   isSelected(photo), href(photo), caption(photo), small(photo) - what stands below a photo's name.
   */
  constructor(root, acts) {
    this.root = root;
    this.acts = acts;
    this.tiles = new Map();
    this.layouts = [];
    this.active = 0;
    this.results = null;
    this.divider = h("div", { class: "divider", role: "listitem" }, h("span"));
    root.addEventListener("click", (event) => this.#clicked(event));
    root.addEventListener("focusin", (event) => this.#focused(event));
    root.addEventListener("keydown", (event) => this.#moved(event));
    onHold(root, (event) => this.#indexOf(event) >= 0 && acts.toggle(this.#indexOf(event), false));
    addEventListener("scroll", () => this.#schedule(), { passive: true });
    addEventListener("resize", () => this.#schedule());
    new ResizeObserver(() => this.#resized()).observe(root);
  }

  /** Show other results, from the top or from where they were left. */
  show(results, { rowHeight, divided, scroll = 0, square = false }) {
    this.results?.close();
    this.abort?.abort();
    this.abort = new AbortController();
    this.results = results;
    this.divided = divided;
    this.square = square;
    this.rowHeight = rowHeight;
    this.active = 0;
    this.layouts = [];
    this.#clear();
    results.addEventListener("loaded", () => this.#loaded(), { signal: this.abort.signal });
    this.#layOut();
    scrollTo({ top: scroll, behavior: "instant" });
    this.#draw();
  }

  resize(rowHeight) {
    this.rowHeight = rowHeight;
    this.#again();
  }

  /** Draw what is shown anew, as something else is selected. */
  refresh() {
    for (const [index, tile] of this.tiles) this.#mark(tile, this.results.at(index));
  }

  /** Indexes of the photos that are on the screen. */
  onScreen() {
    const top = this.#top();
    return this.#within(scrollY - top, scrollY - top + innerHeight);
  }

  /** Put the focus on a photo, and the photo on the screen. */
  focus(index, { scroll = true } = {}) {
    const box = this.#box(index);
    if (!box) return;
    this.active = index;
    const head = document.querySelector(".top").offsetHeight + GAP;
    const above = this.#top() + box.y - head;
    const below = this.#top() + box.y + box.h + GAP - innerHeight;
    if (scroll && scrollY > above) scrollTo({ top: above, behavior: "instant" });
    else if (scroll && scrollY < below) scrollTo({ top: below, behavior: "instant" });
    this.#draw();
    this.tiles.get(index)?.firstChild.focus({ preventScroll: true });
  }

  // -- where things are -------------------------------------------------------------------------

  #top() {
    return this.root.getBoundingClientRect().top + scrollY;
  }

  get #gap() {
    return this.root.clientWidth < 600 ? NARROW_GAP : GAP;
  }

  #usualHeight(photos) {
    const width = this.root.clientWidth || 1;
    return Math.ceil((photos * USUAL_ASPECT * this.rowHeight) / width) * (this.rowHeight + this.#gap);
  }

  #layOut() {
    const { results } = this;
    const weak = this.divided ? results.weakFrom : -1;
    let y = 0;
    const blocks = results.blockCount;
    this.layouts.length = Math.min(this.layouts.length, blocks);
    for (let block = 0; block < blocks && y < HIGHEST; block += 1) {
      const known = this.layouts[block];
      const photos = results.blocks.get(block);
      const split = photos && Math.floor(weak / BLOCK) === block ? weak % BLOCK : -1;
      const last = block === blocks - 1;
      if (!known || known.photos !== photos || known.split !== split || known.last !== last) {
        this.layouts[block] = { photos, split, last, ...this.#layOutBlock(photos, block, split, last) };
      }
      this.layouts[block].y = y;
      y += this.layouts[block].height;
    }
    this.root.style.height = `${y}px`;
    this.#drawDivider(weak);
  }

  #layOutBlock(photos, block, split, last) {
    if (!photos) {
      const size = this.results.sizeOf(block);
      return { tiles: null, height: size && this.#usualHeight(size) };
    }
    const width = this.root.clientWidth;
    const shapes = this.square ? photos.map(() => ({ width: 1, height: 1 })) : photos;
    if (split < 0) return place(shapes, width, this.rowHeight, this.#gap, last);
    const above = place(shapes.slice(0, split), width, this.rowHeight, this.#gap, true);
    const below = place(shapes.slice(split), width, this.rowHeight, this.#gap, last);
    const down = above.height + DIVIDER;
    return {
      tiles: [...above.tiles, ...below.tiles.map((tile) => ({ ...tile, y: tile.y + down }))],
      height: down + below.height,
      line: above.height,
    };
  }

  #drawDivider(weak) {
    const layout = weak < 0 ? null : this.layouts[Math.floor(weak / BLOCK)];
    if (layout?.line === undefined) {
      this.divider.remove();
      this.weak = -1;
      return;
    }
    this.divider.firstChild.textContent =
      weak > 0 ? "No better than chance below" : "Nothing matches better than chance. The nearest there is:";
    this.divider.style.top = `${layout.y + layout.line}px`;
    this.divider.style.height = `${DIVIDER - this.#gap}px`;
    this.weak = weak;
  }

  #box(index) {
    const layout = this.layouts[Math.floor(index / BLOCK)];
    const tile = layout?.tiles?.[index % BLOCK];
    return tile && { ...tile, y: layout.y + tile.y };
  }

  #blocksWithin(from, to) {
    let low = 0;
    let high = this.layouts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.layouts[middle].y + this.layouts[middle].height < from) low = middle + 1;
      else high = middle;
    }
    let last = low;
    while (last + 1 < this.layouts.length && this.layouts[last + 1].y < to) last += 1;
    return [low, Math.min(last, this.layouts.length - 1)];
  }

  #within(from, to) {
    const found = [];
    const [first, last] = this.#blocksWithin(from, to);
    for (let block = first; block <= last; block += 1) {
      const { tiles, y } = this.layouts[block];
      tiles?.forEach((tile, offset) => {
        if (y + tile.y + tile.h > from && y + tile.y < to) found.push(block * BLOCK + offset);
      });
    }
    return found;
  }

  // -- drawing ----------------------------------------------------------------------------------

  #schedule() {
    this.frame ??= requestAnimationFrame((now) => {
      this.frame = undefined;
      const speed = Math.abs(scrollY - (this.lastY ?? scrollY)) / Math.max(now - (this.lastTime ?? now), 1);
      this.lastY = scrollY;
      this.lastTime = now;
      this.#draw(speed > FLING);
    });
  }

  #draw(flinging = false) {
    if (!this.results || this.root.hidden || !this.layouts.length) return;
    const from = scrollY - this.#top() - AHEAD;
    const to = scrollY - this.#top() + innerHeight + AHEAD;
    const wanted = new Set(this.#within(from, to));
    // What has the focus stays, or scrolling away would lose it.
    const holding = this.tiles.get(this.active);
    if (holding?.contains(document.activeElement)) wanted.add(this.active);
    for (const [index, tile] of this.tiles) {
      if (!wanted.has(index)) {
        tile.querySelector("img").removeAttribute("src"); // gives up the request
        tile.remove();
        this.tiles.delete(index);
      }
    }
    for (const index of wanted) {
      const photo = this.results.at(index);
      const known = this.tiles.get(index);
      const tile = known ?? this.#tile(index, photo);
      if (!known) {
        this.tiles.set(index, tile);
        this.root.insertBefore(tile, this.#firstFrom(index + 1));
      }
      this.#place(tile, this.#box(index), photo, flinging);
    }
    // Read in the order seen, by screen readers too.
    const below = this.weak >= 0 && this.#firstFrom(this.weak);
    if (this.weak >= 0 && (!this.divider.isConnected || this.divider.nextSibling !== below)) this.root.insertBefore(this.divider, below);
    clearTimeout(this.settle);
    if (flinging) this.settle = setTimeout(() => this.#draw(), 90);
    else this.results.want(...this.#blocksWithin(from, to));
    this.#setActive();
  }

  /** The first tile in the document from an index on. */
  #firstFrom(index) {
    const next = Math.min(...[...this.tiles.keys()].filter((other) => other >= index));
    return this.tiles.get(next) ?? null;
  }

  #tile(index, photo) {
    const name = fileName(photo.path);
    const image = h("img", { alt: "", decoding: "async", draggable: "false" });
    image.addEventListener("load", () => tile.classList.add("loaded"));
    image.addEventListener("error", () => image.getAttribute("src") && this.#unreadable(tile, name));
    const label = [isVideo(photo) && "video", name, photo.taken && moment(photo.taken).split(",")[0], this.acts.small(photo)];
    const tile = h(
      "div",
      { class: "tile", role: "listitem", "data-index": index, "aria-posinset": index + 1 },
      h(
        "a",
        { class: "open", href: this.acts.href(photo), draggable: "false", tabindex: -1, "aria-label": label.filter(Boolean).join(", ") },
        image,
        isVideo(photo) ? h("span", { class: "badge" }, icon("play"), momentOf(photo)) : null,
        h("span", { class: "caption" }, h("span", { class: "name" }, name), h("span", { class: "small" }, this.acts.small(photo))),
      ),
      h("button", { class: "check", type: "button", role: "checkbox", tabindex: -1, "aria-label": `Select ${name}` }, icon("check")),
      h("button", { class: "more", type: "button", tabindex: -1, "aria-haspopup": "menu", "aria-label": `More for ${name}` }, icon("more")),
    );
    this.#mark(tile, photo);
    return tile;
  }

  #unreadable(tile, name) {
    tile.classList.add("unreadable");
    tile.firstChild.querySelector("img").replaceWith(
      h("img", { hidden: true, alt: "" }),
      h("span", { class: "blank" }, icon("broken"), h("span", {}, name), h("span", { class: "why" }, "cannot be read")),
    );
  }

  #place(tile, box, photo, flinging) {
    const { style } = tile;
    style.width = `${box.w}px`;
    style.height = `${box.h}px`;
    style.transform = `translate(${box.x}px, ${box.y}px)`;
    tile.setAttribute("aria-setsize", this.results.total ?? -1);
    const image = tile.querySelector("img");
    if (!image.getAttribute("src") && !flinging && !tile.classList.contains("unreadable")) {
      image.src = thumbnail(photo, this.#size(box));
      if (image.complete) tile.classList.add("loaded", "known");
    }
  }

  #size(box) {
    return Math.max(box.w, box.h) * devicePixelRatio > 300 ? 512 : 256;
  }

  #mark(tile, photo) {
    const selected = this.acts.isSelected(photo);
    tile.classList.toggle("selected", selected);
    tile.querySelector(".check").setAttribute("aria-checked", selected);
  }

  #clear() {
    for (const tile of this.tiles.values()) {
      tile.querySelector("img").removeAttribute("src");
      tile.remove();
    }
    this.tiles.clear();
    this.divider.remove();
  }

  #loaded() {
    const anchor = this.#anchor();
    this.#layOut();
    this.#keep(anchor);
    this.#draw();
  }

  #resized() {
    if (!this.results || this.root.clientWidth === this.width) return;
    this.width = this.root.clientWidth;
    this.#again();
  }

  #again() {
    if (!this.results) return;
    const anchor = this.#anchor();
    this.layouts = [];
    this.#layOut();
    this.#keep(anchor);
    this.#draw();
  }

  /** What is at the top of the screen, and how far below it. */
  #anchor() {
    const y = scrollY - this.#top();
    if (y <= 0 || !this.layouts.length) return null;
    const [index] = this.#within(y, y + innerHeight);
    if (index !== undefined) return { index, off: this.#box(index).y - y };
    const [block] = this.#blocksWithin(y, y);
    return { block, part: (y - this.layouts[block].y) / (this.layouts[block].height || 1) };
  }

  #keep(anchor) {
    if (!anchor) return;
    const layout = this.layouts[anchor.block];
    const box = this.#box(anchor.index);
    const y = box ? box.y - anchor.off : layout && layout.y + anchor.part * layout.height;
    const top = Math.round(this.#top() + (y ?? 0));
    if (y !== undefined && Math.abs(top - scrollY) > 1) scrollTo({ top, behavior: "instant" });
  }

  // -- acting -----------------------------------------------------------------------------------

  #indexOf(event) {
    const tile = event.target.closest?.(".tile");
    return tile ? Number(tile.dataset.index) : -1;
  }

  #clicked(event) {
    const index = this.#indexOf(event);
    if (index < 0) return;
    const button = event.target.closest("button");
    const plain = !(event.ctrlKey || event.metaKey || event.button);
    if (button?.classList.contains("more")) this.acts.menu(this.results.at(index), button, index);
    else if (button || event.shiftKey) this.acts.toggle(index, event.shiftKey);
    else if (plain) this.acts.open(index);
    else return; // a new tab
    event.preventDefault();
  }

  #focused(event) {
    const index = this.#indexOf(event);
    if (index >= 0) this.active = index;
    this.#setActive();
  }

  /** The one photo that Tab comes to; the arrow keys go to the others. */
  #setActive() {
    const active = this.tiles.has(this.active) ? this.active : this.onScreen()[0];
    for (const [index, tile] of this.tiles) {
      for (const part of tile.querySelectorAll("a, button")) part.tabIndex = index === active ? 0 : -1;
    }
  }

  #moved(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || this.#indexOf(event) < 0) return;
    const last = (this.results.total ?? this.results.blocks.size * BLOCK) - 1;
    const to = {
      ArrowLeft: () => this.active - 1,
      ArrowRight: () => this.active + 1,
      ArrowUp: () => this.#nearest(-1),
      ArrowDown: () => this.#nearest(1),
      Home: () => 0,
      End: () => last,
    }[event.key]?.();
    if (to === undefined) return;
    event.preventDefault();
    this.go(Math.min(Math.max(to, 0), last), event.shiftKey);
  }

  /** Focus a photo that may not be there yet. */
  async go(index, range) {
    await this.results.load(Math.floor(index / BLOCK)).catch(() => {});
    if (range) this.acts.extend(this.active, index);
    this.focus(index);
  }

  /** The photo above or below. */
  #nearest(direction) {
    const box = this.#box(this.active);
    const middle = box.x + box.w / 2;
    let row = null;
    let best = this.active;
    for (let index = this.active + direction; ; index += direction) {
      const other = this.#box(index);
      if (!other || (row !== null && other.y !== row)) return best;
      if (other.y === box.y) continue;
      row = other.y;
      if (best === this.active || Math.abs(other.x + other.w / 2 - middle) < this.#away(best, middle)) best = index;
    }
  }

  #away(index, middle) {
    const box = this.#box(index);
    return Math.abs(box.x + box.w / 2 - middle);
  }
}
