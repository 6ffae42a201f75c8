// What there is to say of results: how many there are in what order, and why there are none.

import { ApiError } from "./api.js";
import { Classify } from "./classify.js";
import { hasFilters } from "./filters.js";
import { errorMessage } from "./notices.js";
import { change, isClassify, isSearch } from "./state.js";
import { count } from "./text.js";

/** In a line. */
export function summaryOf(current, results) {
  const { total } = results;
  const photos = total === null ? "" : count(total, "photo");
  if (isClassify(current)) return Classify.summary(current, total);
  if (isSearch(current) && current.only) return total === null ? "Matches, the best first" : count(total, "match", "matches");
  if (isSearch(current)) return matches(results, photos);
  return total > 1 ? `${photos}, ${current.filters.text ? "best fit" : "newest"} first` : photos;
}

function matches(results, photos) {
  const { weakFrom } = results;
  if (weakFrom < 0) return photos && `${photos}, the best match first`;
  let good = 0;
  for (let index = 0; index < weakFrom; index += 1) good += results.at(index).strength !== "weak";
  return `${good ? count(good, "match", "matches") : "No matches"}${photos && ` among ${photos}`}`;
}

/** In the place of photos, where there are none. */
export function nothingOf(current) {
  if (current.view === "duplicates") {
    const among = hasFilters(current) ? "None of the photos that pass these filters is" : "No photo is";
    return { picture: "check", title: `${among} there twice`, hint: "Neither the same file, nor the same picture in another size." };
  }
  if (isSearch(current) && current.only) {
    const act = { text: "Show the nearest anyway", call: () => change({ only: false }) };
    return { picture: "search", title: "Nothing matches better than chance", hint: "Other words may do, or fewer filters.", act };
  }
  if (hasFilters(current)) {
    const act = { text: "Clear the filters", call: () => change({ filters: {}, tags: [], only: false }) };
    return { picture: "filter", title: "No photo passes these filters", act };
  }
  if (isSearch(current)) return { picture: "search", title: "Nothing found", hint: "There is no other photo to compare with." };
  return errorMessage(new ApiError(409, ""));
}
