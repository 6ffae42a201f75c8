// What the page has to say: for a moment, until it is put away, or in the place of the photos.

import { byId, h, icon } from "./dom.js";

const MOMENT = 4000; // milliseconds
const dismissed = new Set(JSON.parse(sessionStorage.getItem("dismissed") ?? "[]"));

/** For a moment, at the bottom. */
export function toast(text) {
  const line = h("p", { class: "toast" }, text);
  byId("toasts").replaceChildren(line);
  setTimeout(() => line.remove(), MOMENT);
}

/** Above the photos, until put away; nothing is said twice. */
export function notice(text) {
  const list = byId("notices");
  if (dismissed.has(text) || [...list.children].some((item) => item.text === text)) return;
  const away = () => {
    dismissed.add(text);
    sessionStorage.setItem("dismissed", JSON.stringify([...dismissed]));
    item.remove();
  };
  const item = h(
    "p",
    { class: "notice" },
    icon("info"),
    h("span", {}, text),
    h("button", { type: "button", class: "plain", "aria-label": "Put this notice away", onclick: away }, icon("close")),
  );
  item.text = text;
  list.append(item);
}

/** In the place of the photos: what happened, and what to do. */
export function message({ picture = "info", title, hint = "", command = "", alarming = false, act = null }) {
  byId("message").replaceChildren(
    h(
      "div",
      { role: alarming ? "alert" : "status" },
      icon(picture),
      h("h2", {}, title),
      ...hint.split("\n").filter(Boolean).map((line) => h("p", {}, line)),
      command ? h("pre", { tabindex: "0" }, command) : null,
      act ? h("button", { type: "button", class: "button", onclick: act.call }, act.text) : null,
    ),
  );
  byId("message").hidden = false;
}

export function noMessage() {
  byId("message").hidden = true;
  byId("message").replaceChildren();
}

/** An error in the words of the server, or in those that fit this page. */
export function errorMessage(error) {
  if (error.status === 0) {
    return { picture: "offline", title: "clipsearch does not answer", hint: "Start it again; this page goes on by itself.", command: "clipsearch serve", alarming: true };
  }
  if (error.status === 401) {
    return { picture: "lock", title: "This page needs its token", hint: "Open the address that clipsearch serve has printed: the token is a part of it.", alarming: true };
  }
  if (error.status === 409) {
    return { picture: "picture", title: "Nothing is indexed yet", hint: "Tell clipsearch where your photos are; they are only ever read. Then come back here.", command: "clipsearch index ~/Pictures" };
  }
  const title = sentence(error.message || "Something went wrong");
  return { picture: "broken", title, hint: sentence(error.hint ?? ""), alarming: true };
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);
