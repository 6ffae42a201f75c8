// The page: what the address says is shown, what is done changes the address.

import { get, listen, momentOf, original } from "./api.js";
import { addTerm, dropLast, settle, showChips } from "./chips.js";
import { Classify, isOfLabel, photosOf } from "./classify.js";
import { byId, debounced, h, isTyping, lessMotion } from "./dom.js";
import { takePictures } from "./drop.js";
import { Duplicates } from "./duplicates.js";
import { FilterPanel } from "./filters.js";
import { Grid } from "./grid.js";
import { openMenu } from "./menu.js";
import { errorMessage, message, noMessage, notice, toast } from "./notices.js";
import { Results } from "./results.js";
import { Selection, copyPaths } from "./selection.js";
import { address, change, filterParameters, isClassify, isSearch, reset, searchRequest, state, subscribe } from "./state.js";
import { nothingOf, summaryOf } from "./summary.js";
import { Viewer } from "./viewer.js";

const TYPING = 150; // milliseconds without a key after which what is typed is searched for
const AGAIN = 2000; // milliseconds until a server that was gone is asked again
const SLOW = 250; // milliseconds after which old photos fade while new ones are searched for
const HEIGHTS = [90, 130, 170, 210, 270, 350]; // pixels of a row

const searchBox = byId("q");
const gridRoot = byId("grid");
let results = Results.of([]);
let shown = null; // what the results are of
let pending = new AbortController();
let aside = null; // photos of the classify view that the viewer goes through

// -- what is shown ------------------------------------------------------------------------------

const report = (error) => {
  if (error.name === "AbortError" || error.status === 0) return; // a banner says that
  toast([error.message, error.hint].filter(Boolean).join(" – "));
};

function similarTo(photo) {
  reset({ terms: [{ sign: 1, weight: 1, value: `photo:${photo.id}` }], filters: state().filters, tags: state().tags });
}

const withTerm = (photo, sign) => addTerm(`photo:${photo.id}`, sign);

const selection = new Selection({ results: () => results, report, changed: () => listed().refresh() });

/** How well a photo fits, where anything was asked for. */
const fitOf = (photo) => photo.strength ?? (photo.probability === undefined ? "" : `${Math.round(100 * photo.probability)} %`);

const grid = new Grid(gridRoot, {
  open: (index) => openAt(index),
  toggle: (index, range) => selection.toggle(index, range),
  extend: (from, to) => selection.extend(from, to),
  isSelected: (photo) => selection.has(photo),
  href: (photo) => address({ ...state(), photo: photo.id }),
  small: (photo) => [momentOf(photo), fitOf(photo)].filter(Boolean).join(" · "),
  menu: (photo, button, index) =>
    openMenu(photo, button, [
      ["similar", "More like this", () => similarTo(photo), "l"],
      ["plus", "Add to the search", () => withTerm(photo, 1), "a"],
      ["minus", "Subtract from it", () => withTerm(photo, -1), "u"],
      ["check", selection.has(photo) ? "Unselect" : "Select", () => selection.toggle(index), "x"],
      ["copy", "Copy path", () => copyPaths([photo]), "c"],
    ]),
});

const viewer = new Viewer({
  go: (index) => openAt(index, true),
  closed: () => (history.state?.opened ? history.back() : change({ photo: null }, { replace: true })),
  similar: similarTo,
  term: withTerm,
  copy: copyPaths,
  toggle: (index, photo) => selection.toggle(aside ? -1 : index, false, photo),
  isSelected: (photo) => selection.has(photo),
  inFolder: (path) => reset({ filters: { in: path } }),
  near: (latitude, longitude) => reset({ filters: { near: `${latitude.toFixed(5)},${longitude.toFixed(5)}` } }),
  tag: (tag) => reset({ tags: [tag] }),
  report,
});

const filters = new FilterPanel(report);

const classify = new Classify({
  failed: (error) => fail(error),
  ready: () => noMessage(),
  open: (photos, index) => {
    aside = Results.of(photos);
    openAt(index);
  },
});

const duplicates = new Duplicates({
  found: (photos) => {
    results = Results.of(photos);
    selection.elsewhere();
  },
  open: (index) => openAt(index),
  toggle: (index, range) => selection.toggle(index, range),
  select: (indexes) => selection.add(indexes),
  isSelected: (photo) => selection.has(photo),
  href: (photo) => address({ ...state(), photo: photo.id }),
});

/** What stands on the page now. */
const listed = () => (state().view === "duplicates" ? duplicates : grid);

async function openAt(index, stepping = false) {
  const among = aside ?? results;
  try {
    const [photo] = await among.range(index, index);
    if (!photo) return;
    viewer.open(photo, index, among);
    change({ photo: photo.id }, { opened: !stepping, replace: stepping });
  } catch (error) {
    report(error);
  }
}

/** Open or close the viewer as the address says. */
async function showPhoto({ photo: id }) {
  if (id === null) {
    const { index } = viewer;
    const wasOpen = viewer.isOpen;
    viewer.hide();
    if (wasOpen && !aside && index >= 0) listed().focus(index);
    aside = null;
    return;
  }
  if (viewer.isOpen && viewer.photo?.id === id) return;
  const among = aside ?? results;
  const index = among.indexOf(id);
  try {
    viewer.open(index >= 0 ? among.at(index) : await get(`photos/${id}`), index, among);
  } catch (error) {
    report(error);
    change({ photo: null }, { replace: true });
  }
}

function wanted(current) {
  if (!current.view) return JSON.stringify(searchRequest(current));
  const own = isClassify(current) ? [current.labels, current.label, current.sure] : [current.copies];
  return JSON.stringify([current.view, ...own, filterParameters(current)]);
}

async function show(current) {
  document.title = titleOf(current);
  if (document.activeElement !== searchBox) searchBox.value = current.q;
  showChips(current);
  filters.show(current);
  for (const view of ["classify", "duplicates"]) {
    byId(`show-${view}`).setAttribute("aria-pressed", current.view === view);
    byId(view).hidden = current.view !== view;
  }
  byId("label-head").hidden = !isOfLabel();
  if (wanted(current) !== shown) await load(current);
  if (current === state()) await showPhoto(current);
}

function titleOf({ q, terms, view }) {
  if (view) return `${view === "classify" ? "Classify" : "Duplicates"} – clipsearch`;
  if (q) return `${q} – clipsearch`;
  return terms.length ? "Similar photos – clipsearch" : "clipsearch";
}

async function load(current) {
  pending.abort();
  pending = new AbortController();
  const { signal } = pending;
  shown = wanted(current);
  const fading = setTimeout(() => gridRoot.classList.add("old"), SLOW);
  const scroll = history.state?.scroll ?? 0;
  try {
    if (isClassify(current)) await loadClassify(current, signal);
    else if (current.view) await loadDuplicates(current, signal);
    else await loadSearch(current, signal, scroll);
  } catch (error) {
    if (error.name !== "AbortError") fail(error);
  } finally {
    clearTimeout(fading);
    if (!signal.aborted) gridRoot.classList.remove("old");
  }
}

async function loadSearch(current, signal, scroll) {
  const [path, parameters] = searchRequest(current);
  const found = new Results((offset, limit, own) => get(path, { ...parameters, limit, offset }, { signal: AbortSignal.any([signal, own]) }));
  const total = totalOf(current, signal);
  await found.load(0);
  if (signal.aborted) return;
  present(found, current, scroll);
  const most = await total;
  // As many as pass the filters are ranked; with matches alone asked for, only the last page tells.
  if (signal.aborted || found.total !== null || most === null || parameters.only_matches) return;
  found.total = most;
  found.dispatchEvent(new CustomEvent("loaded", { detail: 0 }));
}

async function totalOf(current, signal) {
  try {
    const months = await get("months", filterParameters(current), { signal });
    return months.reduce((sum, { photos }) => sum + photos, 0);
  } catch {
    return null;
  }
}

async function loadClassify(current, signal) {
  noMessage();
  gridRoot.hidden = true;
  showBar(Boolean(current.label));
  const sorted = classify.show(current);
  if (!isOfLabel()) {
    results = Results.of([]);
    selection.elsewhere();
    await sorted;
    return;
  }
  const photos = await photosOf(current, signal);
  if (!signal.aborted) present(Results.of(photos), current, 0);
}

async function loadDuplicates(current, signal) {
  noMessage();
  gridRoot.hidden = true;
  showBar(false);
  await duplicates.show(current, signal);
  if (results.total === 0) nothing(current);
}

/** New results are here. */
function present(found, current, scroll) {
  results = found;
  noMessage();
  found.addEventListener("failed", ({ detail }) => report(detail));
  found.addEventListener("loaded", () => summarize(current));
  gridRoot.hidden = false;
  showBar(true);
  grid.show(found, { rowHeight: rowHeight(), divided: isSearch(current) && !current.view, scroll, square: isClassify(current) });
  selection.elsewhere();
  summarize(current);
  if (found.total === 0) nothing(current);
}

function showBar(shownNow) {
  byId("size").hidden = !shownNow;
  if (!shownNow) byId("summary").textContent = "";
}

const summarize = (current) => {
  byId("summary").textContent = summaryOf(current, results);
};

function nothing(current) {
  gridRoot.hidden = true;
  showBar(false);
  message(nothingOf(current));
}

function fail(error) {
  shown = null; // the same may be asked again
  if (error.status === 0 && results.total !== 0) return; // what is there may still be looked at
  gridRoot.hidden = true;
  showBar(false);
  message(errorMessage(error));
}

// -- the server ---------------------------------------------------------------------------------

let asking = 0;

function gone() {
  byId("gone").hidden = false;
  clearTimeout(asking);
  asking = setTimeout(askAgain, AGAIN);
}

async function askAgain() {
  try {
    await get("status");
  } catch (error) {
    if (error.status === 0) return; // which has set the next try
  }
  byId("gone").hidden = true;
  shown = null;
  show(state());
}

listen({ notice, gone });

// -- the search box -----------------------------------------------------------------------------

const typed = debounced(() => change({ q: searchBox.value, view: "", label: "" }, { typing: true }), TYPING);

searchBox.addEventListener("input", typed);
searchBox.addEventListener("keydown", (event) => {
  if (event.key === "Backspace" && !searchBox.value) dropLast();
  else if (event.key === "ArrowDown" && results.at(0) && !gridRoot.hidden) grid.focus(0);
  else if (event.key === "Escape" && !searchBox.value) searchBox.blur();
  else return;
  event.preventDefault();
});
byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  typed.now();
  settle();
  searchBox.value = state().q;
  if (state().q) history.replaceState({ ...history.state, typing: false }, "");
  if (matchMedia("(pointer: coarse)").matches) searchBox.blur(); // the keyboard of a phone covers the photos
});

// -- the bar, the panels ------------------------------------------------------------------------

const rowHeight = () => HEIGHTS[byId("density").value];

function showFilters(shownNow) {
  byId("filters").hidden = !shownNow;
  byId("show-filters").setAttribute("aria-expanded", shownNow);
  document.body.classList.toggle("filtering", shownNow);
  if (innerWidth > 800) localStorage.setItem("filters", shownNow ? "yes" : "no");
  if (shownNow) filters.show(state());
}

function toggleTheme() {
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const theme = (document.documentElement.dataset.theme ?? system) === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("theme", theme);
}

function toggleView(view) {
  if (state().view === view) {
    reset({ filters: state().filters, tags: state().tags });
    return;
  }
  change({ view, q: "", terms: [], label: "", photo: null });
  if (view === "classify") byId("labels").focus();
}

byId("density").value = localStorage.getItem("density") ?? (innerWidth < 600 ? 1 : 3);
byId("density").addEventListener("input", (event) => {
  localStorage.setItem("density", event.target.value);
  grid.resize(rowHeight());
});
byId("home").addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  reset();
});
byId("show-filters").addEventListener("click", () => showFilters(byId("filters").hidden));
byId("filters-close").addEventListener("click", () => {
  showFilters(false);
  byId("show-filters").focus();
});
for (const view of ["classify", "duplicates"]) byId(`show-${view}`).addEventListener("click", () => toggleView(view));
byId("theme").addEventListener("click", toggleTheme);
byId("show-help").addEventListener("click", () => byId("help").showModal());
byId("help-close").addEventListener("click", () => byId("help").close());
byId("help").addEventListener("click", (event) => event.target === event.currentTarget && event.target.close());
byId("to-top").addEventListener("click", () => scrollTo({ top: 0, behavior: lessMotion() ? "instant" : "smooth" }));
addEventListener("scroll", () => byId("to-top").classList.toggle("shown", scrollY > 2 * innerHeight), { passive: true });

// -- keys ---------------------------------------------------------------------------------------

const anywhere = {
  "/": () => {
    searchBox.focus();
    searchBox.select();
  },
  "?": () => byId("help").showModal(),
  f: () => showFilters(byId("filters").hidden),
  g: () => toggleView("classify"),
  p: () => toggleView("duplicates"),
  t: toggleTheme,
};

const onPhoto = {
  x: (photo, index) => selection.toggle(index),
  l: similarTo,
  a: (photo) => withTerm(photo, 1),
  u: (photo) => withTerm(photo, -1),
  c: (photo) => copyPaths([photo]),
  o: (photo) => h("a", { href: original(photo), target: "_blank", rel: "noopener" }).click(),
  d: (photo) => h("a", { href: original(photo, true), download: "" }).click(),
  m: (photo) => gridRoot.querySelector(`[data-index="${grid.active}"] .more`)?.click() ?? photo,
};

function escape() {
  if (selection.photos.size) selection.clear();
  else if (isOfLabel()) change({ label: "" });
  else if (!byId("filters").hidden && innerWidth <= 800) showFilters(false);
}

addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]") || event.defaultPrevented) return;
  if (isTyping(event.target)) return;
  if ((event.ctrlKey || event.metaKey) && event.key === "a" && !gridRoot.hidden) {
    event.preventDefault();
    selection.add(grid.onScreen());
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const photo = event.target.closest?.("[data-index]") && results.at(listed().active);
  const act = (photo && onPhoto[event.key]) || anywhere[event.key] || (event.key === "Escape" && escape);
  if (!act) return;
  event.preventDefault();
  act(photo, listed().active);
});

// -- begin --------------------------------------------------------------------------------------

history.scrollRestoration = "manual";
addEventListener("scroll", debounced(() => history.replaceState({ ...history.state, scroll: scrollY }, ""), 200), { passive: true });
takePictures(report);
subscribe(show);
showFilters(innerWidth > 800 && localStorage.getItem("filters") === "yes");
show(state());
get("concepts")
  .then((concepts) => byId("concepts").replaceChildren(...concepts.map(({ name }) => h("option", { value: `@${name}` }))))
  .catch(() => {}); // only suggestions
