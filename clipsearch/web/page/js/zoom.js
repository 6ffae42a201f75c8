// A picture that can be zoomed and moved: wheel, double click, pinch, drag, keys; swipes when it is not zoomed.

const STEP = 1.4;
const DEEPEST = 4; // screen pixels that a pixel of the photo may take
const ENLARGED = 2; // times that a small photo is, to begin with
const AT_LEAST = 3; // times, however small the photo is
const SWIPE = 60; // pixels of a finger that mean the next photo

const distance = (a, b) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);

export class Zoom {
  /**
   * @param {HTMLElement} stage - Takes the gestures.
   * @param {HTMLElement} moved - In the middle of the stage.
   * @param {object} told - swipe(direction), close(), changed(scale), tap().
   */
  constructor(stage, moved, told) {
    Object.assign(this, { stage, moved, told, pointers: new Map() });
    this.of(1, 1);
    stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    stage.addEventListener("dblclick", (event) => event.target.closest("video") ?? this.toggle(event));
    stage.addEventListener("pointerdown", (event) => this.#down(event));
    stage.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, (event) => this.#up(event));
    new ResizeObserver(() => this.#apply()).observe(stage);
  }

  /** Another picture, of so many pixels: show all of it. */
  of(width, height) {
    this.width = width;
    this.height = height;
    this.pointers.clear();
    this.fit();
  }

  fit() {
    this.scale = 1;
    this.x = 0;
    this.y = 0;
    this.#apply();
  }

  /** Screen pixels that the picture takes where all of it is shown. */
  get #fitted() {
    const { clientWidth, clientHeight } = this.stage;
    const factor = Math.min(clientWidth / this.width, clientHeight / this.height, ENLARGED);
    return { w: this.width * factor, h: this.height * factor, factor };
  }

  get #deepest() {
    return Math.max(DEEPEST / (this.#fitted.factor || 1), AT_LEAST);
  }

  /** Between all of it and its own pixels. */
  toggle(event) {
    if (this.scale > 1) this.fit();
    else this.by(Math.max(1 / (this.#fitted.factor || 1), 2), event);
  }

  in() {
    this.by(STEP);
  }

  out() {
    this.by(1 / STEP);
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.#apply();
  }

  /** Zoom about a point of the screen, or the middle. */
  by(factor, about) {
    const box = this.stage.getBoundingClientRect();
    const px = about ? about.clientX - box.left - box.width / 2 : 0;
    const py = about ? about.clientY - box.top - box.height / 2 : 0;
    const scale = Math.min(Math.max(this.scale * factor, 1), this.#deepest);
    const ratio = scale / this.scale;
    this.x = px - (px - this.x) * ratio;
    this.y = py - (py - this.y) * ratio;
    this.scale = scale;
    this.#apply();
  }

  #apply() {
    const { w, h } = this.#fitted;
    const roomX = Math.max((w * this.scale - this.stage.clientWidth) / 2, 0);
    const roomY = Math.max((h * this.scale - this.stage.clientHeight) / 2, 0);
    this.x = Math.min(Math.max(this.x, -roomX), roomX);
    this.y = Math.min(Math.max(this.y, -roomY), roomY);
    this.moved.style.width = `${w}px`;
    this.moved.style.height = `${h}px`;
    this.#show(this.x, this.y);
    this.stage.classList.toggle("zoomed", this.scale > 1);
    this.told.changed?.(this.scale, this.scale * w * devicePixelRatio);
  }

  #show(x, y) {
    this.moved.style.transform = `translate(${x}px, ${y}px) scale(${this.scale})`;
  }

  #wheel(event) {
    event.preventDefault();
    // A notch of a wheel is about 100; a trackpad's pinch comes as ctrl and single digits.
    this.by(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), event);
  }

  #down(event) {
    if (event.button || event.target.closest("button, a, video")) return;
    this.stage.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, event);
    this.start = { x: event.clientX, y: event.clientY, touch: event.pointerType !== "mouse" };
    this.stage.classList.add("held");
  }

  #move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const other = [...this.pointers.values()].find(({ pointerId }) => pointerId !== event.pointerId);
    this.pointers.set(event.pointerId, event);
    if (other) {
      this.start = null; // a pinch is no swipe
      const middle = { clientX: (event.clientX + other.clientX) / 2, clientY: (event.clientY + other.clientY) / 2 };
      this.by(distance(event, other) / Math.max(distance(before, other), 1), middle);
    } else if (this.scale > 1) {
      this.pan(event.clientX - before.clientX, event.clientY - before.clientY);
    } else if (this.start?.touch) {
      this.#show(event.clientX - this.start.x, Math.max(event.clientY - this.start.y, 0) / 2);
    }
  }

  #up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    if (!this.pointers.size) this.stage.classList.remove("held");
    if (!this.start || this.pointers.size) return;
    const { touch, x, y } = this.start;
    const dx = event.clientX - x;
    const dy = event.clientY - y;
    if (Math.hypot(dx, dy) < 6) this.told.tap?.(event);
    if (!touch || this.scale > 1) return;
    this.#show(0, 0);
    if (event.type === "pointercancel") return;
    if (Math.abs(dx) > SWIPE && Math.abs(dx) > Math.abs(dy)) this.told.swipe(dx < 0 ? 1 : -1);
    else if (dy > SWIPE * 1.5) this.told.close();
  }
}
