// What is looked at, all of it in the address: going back, reloading and sharing a link just work.

import { query } from "./api.js";
import { decode } from "./text.js";

export const FILTERS = ["in", "after", "before", "on", "shape", "camera", "lens", "glob", "min_size", "near", "within", "text"];

/**
 * A term beside what is typed.
 * @typedef {{sign: 1|-1, weight: number, value: string}} Term
 */

const VIEWS = ["classify", "duplicates"]; // beside the photos
const COPIES = ["exact", "bursts"]; // what duplicates are, if not the same picture

export const isClassify = ({ view }) => view === "classify";

const NOTHING = Object.freeze({
  q: "",
  terms: [],
  filters: {},
  tags: [],
  only: false,
  view: "",
  copies: "",
  labels: "",
  label: "",
  sure: "",
  photo: null,
});

export function parseTerm(text, sign) {
  const weighted = /^(\d+(?:\.\d+)?):(.+)$/s.exec(text);
  return { sign, weight: weighted ? Number(weighted[1]) : 1, value: weighted ? weighted[2] : text };
}

export const formatTerm = ({ weight, value }) => (weight === 1 ? value : `${weight}:${value}`);

export const isPicture = (value) => /^(photo:\d+|upload:\w+)$/.test(value);

/** `flower -sunflower +pool` is one text, one to subtract and one to add. */
export function splitTyped(typed) {
  const [first, ...rest] = typed.split(/\s+(?=[+-][^\s+-])/).map((part) => part.trim());
  const parts = /^[+-][^\s+-]/.test(first) ? [first, ...rest] : rest;
  const terms = parts.map((part) => parseTerm(part.slice(1).trim(), part[0] === "-" ? -1 : 1));
  return { text: parts.includes(first) ? "" : first, terms };
}

function read() {
  const pairs = location.search.slice(1).split("&").filter(Boolean);
  const all = pairs.map((pair) => {
    const [name, ...value] = pair.split("=");
    return [name, decode(value.join("="))];
  });
  const every = (wanted) => all.filter(([name, value]) => name === wanted && value).map(([, value]) => value);
  const one = (wanted) => every(wanted)[0] ?? "";
  const filters = Object.fromEntries(FILTERS.map((name) => [name, one(name)]).filter(([, value]) => value));
  return {
    ...NOTHING,
    q: one("q"),
    terms: [...every("add").map((term) => parseTerm(term, 1)), ...every("subtract").map((term) => parseTerm(term, -1))],
    filters,
    tags: every("tag"),
    only: one("only_matches") === "1",
    view: VIEWS.includes(one("view")) ? one("view") : "",
    copies: COPIES.includes(one("copies")) ? one("copies") : "",
    labels: one("labels"),
    label: one("label"),
    sure: one("sure"),
    photo: /^\d+$/.test(one("photo")) ? Number(one("photo")) : null,
  };
}

/** The address that shows a state. */
export function address(state) {
  const sorting = isClassify(state);
  const asked = query({
    view: state.view,
    q: state.q,
    ...signed(state.terms),
    ...filterParameters(state),
    only_matches: state.only && 1,
    labels: sorting && state.labels,
    label: sorting && state.label,
    sure: sorting && state.sure,
    copies: state.view === "duplicates" && state.copies,
    photo: state.photo,
  });
  return asked ? `?${asked}` : "./";
}

const signed = (terms) => ({
  add: terms.filter(({ sign }) => sign > 0).map(formatTerm),
  subtract: terms.filter(({ sign }) => sign < 0).map(formatTerm),
});

/** The filters as the server takes them. */
export const filterParameters = (state) => ({ ...state.filters, tag: state.tags });

/** All terms: what is typed, taken apart, and the chips. */
export function allTerms(state) {
  const { text, terms } = splitTyped(state.q.trim());
  return [...(text ? [parseTerm(text, 1)] : []), ...terms, ...state.terms];
}

/** What to ask the server for: its path and parameters. */
export function searchRequest(state) {
  const terms = allTerms(state);
  const only = terms.length > 0 && state.only && 1;
  const common = { ...filterParameters(state), only_matches: only };
  const [first, ...rest] = terms;
  // Looked for by a photo alone, the photo itself is no answer.
  if (first?.sign === 1 && first.weight === 1 && first.value.startsWith("photo:")) {
    return [`photos/${first.value.slice(6)}/similar`, { ...signed(rest), ...common }];
  }
  return ["search", { ...signed(terms), ...common }];
}

export const isSearch = (state) => allTerms(state).length > 0;

let current = read();
const told = [];

export const state = () => current;

export function subscribe(listener) {
  told.push(listener);
}

function tell(before) {
  for (const listener of told) listener(current, before);
}

/**
 * Look at something else.
 * @param {object} patch - What changes.
 * @param {{replace?: boolean, typing?: boolean, opened?: boolean}} how - `replace`: not a step to go back to.
 *   `typing`: letter by letter, of which only the first is one. `opened`: going back closes it.
 */
export function change(patch, { replace = false, typing = false, opened = false } = {}) {
  const before = current;
  current = { ...current, ...patch };
  const known = address(current);
  if (known === address(before)) return;
  const keepsPlace = address({ ...current, photo: null }) === address({ ...before, photo: null });
  const again = replace || (typing && history.state?.typing);
  const step = { typing, opened: opened || Boolean(again && history.state?.opened), scroll: keepsPlace ? scrollY : 0 };
  history[again ? "replaceState" : "pushState"](step, "", known);
  tell(before);
}

/** From the beginning: all photos. */
export const reset = (patch = {}) => change({ ...NOTHING, ...patch });

addEventListener("popstate", () => {
  const before = current;
  current = read();
  tell(before);
});
