// What is searched for beside the words typed, and the filters: each a chip that can be weighed and taken away.

import { byId, h, icon } from "./dom.js";
import { filterChips } from "./filters.js";
import { allTerms, change, isPicture, parseTerm, state } from "./state.js";
import { harmless } from "./text.js";

const WEIGHTS = [1, 2, 3];

/** Where the previews of pictures given to this page are, by term. */
const previews = new Map();

export function rememberPreview(term, address) {
  previews.set(term, address);
}

/** Search by this as well; or, with `alone`, by nothing else. */
export function addTerm(value, sign, alone = false) {
  const others = alone ? [] : state().terms.filter((term) => term.value !== value);
  const q = alone ? "" : state().q;
  change({ q, terms: [...others, { sign, weight: 1, value }], view: "", photo: null });
}

export function dropLast() {
  if (state().terms.length) change({ terms: state().terms.slice(0, -1) });
  else filterChips(state()).at(-1)?.drop();
}

/** What is typed, with its pluses and minuses made into chips. */
export function settle() {
  const current = state();
  const [first, ...rest] = allTerms({ ...current, terms: [] });
  const typed = first?.sign === 1 ? first : null;
  const chips = typed ? rest : [first, ...rest].filter(Boolean);
  if (!chips.length) return;
  const q = typed ? (typed.weight === 1 ? typed.value : `${typed.weight}:${typed.value}`) : "";
  change({ q, terms: [...current.terms, ...chips] }, { replace: true });
}

function weigh(index) {
  const terms = state().terms.map((term, other) =>
    other === index ? { ...term, weight: WEIGHTS[(WEIGHTS.indexOf(term.weight) + 1) % WEIGHTS.length] } : term,
  );
  change({ terms });
}

function turn(index) {
  change({ terms: state().terms.map((term, other) => (other === index ? { ...term, sign: -term.sign } : term)) });
}

const drop = (index) => change({ terms: state().terms.filter((_, other) => other !== index) });

function picture(value) {
  const address = previews.get(value) ?? (value.startsWith("photo:") ? `api/photos/${value.slice(6)}/thumbnail?size=256` : null);
  if (!address) return icon("picture");
  const image = h("img", { class: "preview", src: address, alt: "" });
  image.addEventListener("error", () => image.replaceWith(icon("picture")));
  return image;
}

function termChip({ sign, weight, value }, index) {
  const shown = isPicture(value) ? (value.startsWith("photo:") ? "this photo" : "this picture") : value;
  const words = `${sign > 0 ? "more like" : "less like"} ${shown}`;
  return h(
    "li",
    { class: `chip term ${sign > 0 ? "plus" : "minus"}` },
    h(
      "button",
      { class: "sign", type: "button", title: sign > 0 ? "Subtract it instead" : "Add it instead", "aria-label": `${words}; turn round`, onclick: () => turn(index) },
      icon(sign > 0 ? "plus" : "minus"),
    ),
    h(
      "button",
      { class: "weight", type: "button", title: "How much it counts", "aria-label": `${words}, counts ${weight} times; change`, onclick: () => weigh(index) },
      isPicture(value) ? picture(value) : h("span", { class: "words" }, harmless(value)),
      weight === 1 ? null : h("span", { class: "times" }, `${weight}×`),
    ),
    remove(words, () => drop(index)),
  );
}

const remove = (what, act) =>
  h("button", { class: "remove", type: "button", title: "Remove", "aria-label": `Remove: ${what}`, onclick: act }, icon("close"));

function filterChip({ icon: name, text, title, drop: act }) {
  return h("li", { class: "chip", title: title ? harmless(title) : null }, icon(name), h("span", { class: "words" }, harmless(text)), remove(text, act));
}

/** A small box to type one more term into. */
function adder(sign) {
  const words = sign > 0 ? "Add" : "Subtract";
  const button = h("button", { class: "add", type: "button", onclick: () => open() }, icon(sign > 0 ? "plus" : "minus"), words);
  const item = h("li", { class: "adder" }, button);
  const input = h("input", { class: "adding", type: "text", "aria-label": `${words} to the search`, placeholder: sign > 0 ? "more of …" : "less of …", autocomplete: "off" });
  const close = () => item.replaceChildren(button);
  function open() {
    item.replaceChildren(input);
    input.value = "";
    input.focus();
  }
  input.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter" && input.value.trim()) {
      const { weight, value } = parseTerm(input.value.trim(), sign);
      change({ terms: [...state().terms, { sign, weight, value }] });
      byId("q").focus();
    } else if (event.key === "Escape" || event.key === "Enter") {
      close();
      button.focus();
    }
  });
  input.addEventListener("blur", close);
  return item;
}

export function showChips(current) {
  const list = byId("chips");
  const held = list.contains(document.activeElement) && [...list.querySelectorAll("button")].indexOf(document.activeElement);
  const filters = filterChips(current).map(filterChip);
  const searching = allTerms(current).length > 0 && !current.view;
  list.replaceChildren(
    ...(current.view ? [] : current.terms.map(termChip)),
    ...(searching ? [adder(1), adder(-1)] : []),
    ...filters,
  );
  list.hidden = !list.children.length;
  // A chip that was clicked keeps the focus, or the one that took its place.
  if (held !== false) [...list.querySelectorAll("button")][Math.min(held, list.querySelectorAll("button").length - 1)]?.focus();
}
