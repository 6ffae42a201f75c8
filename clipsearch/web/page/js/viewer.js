// One photo, large, with what is known of it.

import { get, isVideo, momentOf, original, thumbnail } from "./api.js";
import { byId, h } from "./dom.js";
import { bytes, fileName, folderOf, harmless, moment, number } from "./text.js";
import { Zoom } from "./zoom.js";

// What browsers show by themselves; other originals are seen in the server's WebP only.
const SHOWABLE = /\.(jpe?g|png|webp|avif|gif)$/i;
const LARGEST_THUMBNAIL = 2048;

export class Viewer {
  /**
   * @param {object} acts - go(index), closed(), similar(photo), term(photo, sign), copy([photo]), toggle(index),
   *   isSelected(photo), inFolder(path), near(latitude, longitude), tag(tag), report(error).
   */
  constructor(acts) {
    this.acts = acts;
    this.dialog = byId("viewer");
    this.stage = byId("stage");
    this.image = byId("large");
    this.film = byId("film");
    this.facts = byId("facts");
    this.index = -1;
    this.zoom = new Zoom(this.stage, this.image, {
      swipe: (direction) => this.step(direction),
      close: () => this.close(),
      changed: (scale, pixels) => this.#zoomed(scale, pixels),
    });
    this.dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      this.close();
    });
    this.dialog.addEventListener("keydown", (event) => this.#key(event));
    this.#wire();
    this.showFacts(localStorage.getItem("facts") !== "no" && innerWidth > 900);
  }

  get isOpen() {
    return this.dialog.open;
  }

  #wire() {
    const on = (id, act) => byId(id).addEventListener("click", act);
    on("v-close", () => this.close());
    on("v-play", () => this.play());
    this.film.addEventListener("error", () => this.film.hasAttribute("src") && this.#unplayable());
    on("v-previous", () => this.step(-1));
    on("v-next", () => this.step(1));
    on("v-similar", () => this.acts.similar(this.photo));
    on("v-like", () => this.acts.term(this.photo, 1));
    on("v-unlike", () => this.acts.term(this.photo, -1));
    on("v-copy", () => this.acts.copy([this.photo]));
    on("v-select", () => this.select());
    on("v-zoom-in", () => this.zoom.in());
    on("v-zoom-out", () => this.zoom.out());
    on("v-facts", () => this.showFacts(this.facts.hidden, true));
  }

  /** Show a photo of the results, or one that is in none (index -1). */
  open(photo, index, results) {
    const again = this.photo?.id === photo.id && this.isOpen;
    Object.assign(this, { photo, index, results });
    if (!this.isOpen) {
      this.dialog.showModal();
      this.stage.focus({ preventScroll: true });
    }
    this.#position();
    if (!again) this.#show(photo);
    this.#preload();
  }

  /** Ask to be closed; whoever keeps the address does it. */
  close() {
    this.acts.closed();
  }

  hide() {
    if (!this.isOpen) return;
    this.dialog.close();
    this.#stop();
    this.image.removeAttribute("src");
    this.photo = null;
  }

  step(direction) {
    const to = this.index + direction;
    if (this.index >= 0 && to >= 0 && to < (this.results.total ?? Infinity)) this.acts.go(to);
  }

  select() {
    this.acts.toggle(this.index, this.photo);
    this.#position();
  }

  /** Play a video, from the moment that is shown. */
  play() {
    if (!isVideo(this.photo)) return;
    this.film.src = original(this.photo);
    this.#playing(true);
    this.film.focus();
    this.film.play().catch(() => {}); // what went wrong comes as an event
  }

  #stop() {
    this.film.pause();
    this.film.removeAttribute("src");
    this.film.load(); // gives up the request
    this.#playing(false);
  }

  #playing(now) {
    this.film.hidden = !now;
    this.image.hidden = now;
    byId("v-play").hidden = now || !isVideo(this.photo);
  }

  #unplayable() {
    this.#stop();
    this.acts.report(new Error("The browser does not play this video: open the original, or download it"));
  }

  showFacts(shown, remember = false) {
    this.facts.hidden = !shown;
    byId("v-facts").setAttribute("aria-expanded", shown);
    if (remember) localStorage.setItem("facts", shown ? "yes" : "no");
  }

  #position() {
    const { index, results, photo } = this;
    const total = results.total;
    byId("v-position").textContent = index < 0 ? "" : `${number(index + 1)}${total ? ` of ${number(total)}` : ""}`;
    byId("v-previous").disabled = index <= 0;
    byId("v-next").disabled = index < 0 || (total !== null && index >= total - 1);
    byId("v-select").setAttribute("aria-pressed", this.acts.isSelected(photo));
  }

  async #show(photo) {
    const name = fileName(photo.path);
    byId("v-name").textContent = name;
    byId("v-original").href = original(photo);
    byId("v-download").href = original(photo, true);
    this.dialog.classList.remove("unreadable");
    this.#stop();
    byId("v-play").lastChild.textContent = `Play${photo.seconds ? ` from ${momentOf(photo)}` : ""}`;
    this.image.alt = name;
    this.sharp = 0;
    this.zoom.of(photo.width ?? 1, photo.height ?? 1);
    this.image.src = thumbnail(photo, 512); // most likely here already
    this.#facts(photo, null);
    this.#swap(photo, thumbnail(photo, LARGEST_THUMBNAIL), LARGEST_THUMBNAIL);
    try {
      const details = await get(`photos/${photo.id}`);
      if (this.photo !== photo) return;
      if (!photo.width) {
        Object.assign(photo, { width: details.width, height: details.height });
        this.zoom.of(details.width, details.height);
      }
      this.#facts(photo, details);
    } catch (error) {
      if (this.photo === photo) this.acts.report(error);
    }
  }

  /** Show sharper pixels once they are here. */
  async #swap(photo, address, pixels) {
    if (this.sharp >= pixels) return;
    this.sharp = pixels;
    const sharper = new Image();
    sharper.src = address;
    try {
      await sharper.decode();
      if (this.photo === photo && this.sharp === pixels) this.image.src = address;
    } catch {
      if (this.photo === photo && pixels === LARGEST_THUMBNAIL) this.dialog.classList.add("unreadable");
    }
  }

  #zoomed(scale, width) {
    const { photo } = this;
    byId("v-zoom").textContent = `${Math.round(scale * 100)} %`;
    if (!photo || scale === 1 || !SHOWABLE.test(photo.path)) return;
    const longer = Math.max(photo.width, photo.height);
    const shown = width * (longer / (photo.width || 1));
    if (longer > LARGEST_THUMBNAIL && shown > LARGEST_THUMBNAIL) this.#swap(photo, original(photo), longer);
  }

  async #preload() {
    const { results, index } = this;
    if (index < 0) return;
    for (const near of [index + 1, index - 1]) {
      if (near < 0 || near >= (results.total ?? Infinity)) continue;
      const [photo] = await results.range(near, near).catch(() => []);
      if (photo && this.index === index) {
        new Image().src = thumbnail(photo, 512);
        new Image().src = thumbnail(photo, LARGEST_THUMBNAIL);
      }
    }
  }

  #facts(photo, details) {
    const known = details ?? photo;
    const megapixels = ((known.width * known.height) / 1e6).toFixed(1);
    const place = known.latitude !== null && known.latitude !== undefined;
    const button = (text, act) => h("button", { class: "link", type: "button", onclick: act }, text);
    const folder = details?.folder ?? folderOf(photo.path);
    const rows = [
      ["Match", photo.strength && this.#strength(photo)],
      ["Label", photo.label && `${harmless(photo.label)}, ${(100 * photo.probability).toFixed(0)} %`],
      ["Moment", momentOf(photo)],
      ["Taken", known.taken && moment(known.taken)],
      ["Camera", known.camera && harmless(known.camera)],
      ["Lens", known.lens && harmless(known.lens)],
      ["Size", known.width && `${known.width} × ${known.height}${megapixels >= 0.1 ? `, ${megapixels} MP` : ""}, ${bytes(known.size)}`],
      [
        "Place",
        place && button(`${known.latitude.toFixed(5)}, ${known.longitude.toFixed(5)}`, () => this.acts.near(known.latitude, known.longitude)),
      ],
      ["Folder", button(harmless(folder), () => this.acts.inFolder(folder))],
      ["Caption", details?.caption && harmless(details.caption)],
      ["Words in it", details?.words && harmless(details.words)],
      [
        "Tags",
        details?.tags?.length && h("span", { class: "tags" }, ...details.tags.map((tag) => button(harmless(tag), () => this.acts.tag(tag)))),
      ],
    ];
    const list = rows.filter(([, value]) => value).map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]);
    byId("v-list").replaceChildren(...list.flat());
  }

  #strength(photo) {
    const words = { strong: "strong", fair: "fair", weak: "weak, no better than chance" };
    return h(
      "span",
      {},
      h("span", { class: `strength ${photo.strength}` }, words[photo.strength] ?? photo.strength),
      photo.score === null ? null : h("span", { class: "score" }, ` ${photo.score.toFixed(3)}`),
    );
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const zoomed = this.zoom.scale > 1;
    const acts = {
      ArrowLeft: () => (zoomed ? this.zoom.pan(80, 0) : this.step(-1)),
      ArrowRight: () => (zoomed ? this.zoom.pan(-80, 0) : this.step(1)),
      ArrowUp: () => this.zoom.pan(0, 80),
      ArrowDown: () => this.zoom.pan(0, -80),
      PageDown: () => this.step(1),
      PageUp: () => this.step(-1),
      Home: () => this.index >= 0 && this.acts.go(0),
      "+": () => this.zoom.in(),
      "=": () => this.zoom.in(),
      "-": () => this.zoom.out(),
      0: () => this.zoom.fit(),
      z: () => this.zoom.toggle(),
      i: () => this.showFacts(this.facts.hidden, true),
      v: () => this.play(),
      x: () => this.select(),
      l: () => this.acts.similar(this.photo),
      a: () => this.acts.term(this.photo, 1),
      u: () => this.acts.term(this.photo, -1),
      c: () => this.acts.copy([this.photo]),
      o: () => byId("v-original").click(),
      d: () => byId("v-download").click(),
    };
    const act = acts[event.key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  }
}
