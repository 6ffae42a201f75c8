// A picture dropped anywhere, pasted or picked becomes a term.

import { postPicture } from "./api.js";
import { addTerm, rememberPreview } from "./chips.js";
import { byId, isTyping } from "./dom.js";
import { toast } from "./notices.js";

async function searchBy(files, report) {
  const file = [...files].find(({ type, name }) => type.startsWith("image/") || /\.(hei[cf]|jxl|avif|dng)$/i.test(name ?? ""));
  if (!file) {
    toast("That is no picture");
    return;
  }
  document.body.classList.add("busy");
  try {
    const term = await postPicture(file);
    rememberPreview(term, URL.createObjectURL(file));
    addTerm(term, 1, true);
  } catch (error) {
    report(error);
  } finally {
    document.body.classList.remove("busy");
  }
}

/** @param {(error: Error) => void} report */
export function takePictures(report) {
  const veil = byId("veil");
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  let depth = 0; // every element that is dragged over is entered and left
  const over = (change) => {
    depth = Math.max(depth + change, 0);
    veil.hidden = depth === 0;
  };
  addEventListener("dragenter", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    over(1);
  });
  addEventListener("dragleave", (event) => hasFiles(event) && over(-1));
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
  });
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    over(-depth);
    searchBy(event.dataTransfer.files, report);
  });
  addEventListener("paste", (event) => {
    const files = event.clipboardData?.files ?? [];
    if (!files.length || (isTyping(event.target) && event.clipboardData.types.includes("text/plain"))) return;
    event.preventDefault();
    searchBy(files, report);
  });
  const input = byId("pick-file");
  byId("pick").addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    searchBy(input.files, report);
    input.value = "";
  });
}
