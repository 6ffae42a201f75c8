// A long touch, as phones have it in the place of a right click.

const HOLD = 450; // milliseconds
const STILL = 4; // pixels that a finger may move meanwhile

/**
 * Be told of long touches within an element. The click and the menu that follow one are not meant.
 * @param {HTMLElement} root
 * @param {(event: PointerEvent) => unknown} held
 */
export function onHold(root, held) {
  let timer = 0;
  let justHeld = false;
  const stop = () => clearTimeout(timer);
  root.addEventListener("pointerdown", (event) => {
    justHeld = false;
    if (event.pointerType !== "touch") return;
    timer = setTimeout(() => {
      justHeld = held(event) !== false;
    }, HOLD);
  });
  root.addEventListener("pointermove", (event) => Math.hypot(event.movementX, event.movementY) > STILL && stop());
  for (const end of ["pointerup", "pointercancel"]) root.addEventListener(end, stop);
  root.addEventListener("contextmenu", (event) => event.pointerType === "touch" && event.preventDefault());
  root.addEventListener(
    "click",
    (event) => {
      if (!justHeld) return;
      justHeld = false;
      event.preventDefault();
      event.stopPropagation();
    },
    { capture: true },
  );
}
