// What can be done with one photo, in a menu beside its button.

import { original } from "./api.js";
import { byId, h, icon } from "./dom.js";

export function openMenu(photo, button, items) {
  const menu = byId("menu");
  const entries = [
    ...items.map(([name, text, act, key]) => h("button", { type: "button", role: "menuitem", tabindex: -1, onclick: () => chosen(act) }, icon(name), text, h("kbd", {}, key))),
    h("a", { role: "menuitem", tabindex: -1, href: original(photo), target: "_blank", rel: "noopener" }, icon("external"), "Open original", h("kbd", {}, "o")),
    h("a", { role: "menuitem", tabindex: -1, href: original(photo, true), download: "" }, icon("download"), "Download", h("kbd", {}, "d")),
  ];
  const chosen = (act) => {
    menu.hidePopover();
    act();
  };
  menu.replaceChildren(...entries);
  menu.onkeydown = (event) => {
    const here = entries.indexOf(document.activeElement);
    const to = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: entries.length - 1 }[event.key];
    if (to === undefined && event.key !== "Tab") return;
    event.preventDefault();
    if (event.key === "Tab") menu.hidePopover();
    else entries[(to + entries.length) % entries.length].focus();
  };
  menu.ontoggle = (event) => {
    button.closest(".tile")?.classList.toggle("menu-open", event.newState === "open");
    if (event.newState === "closed" && (menu.contains(document.activeElement) || document.activeElement === document.body)) button.focus();
  };
  menu.showPopover();
  const box = button.getBoundingClientRect();
  const { offsetWidth, offsetHeight } = menu;
  const left = Math.min(Math.max(box.right - offsetWidth, 8), innerWidth - offsetWidth - 8);
  const top = box.bottom + 4 + offsetHeight > innerHeight ? Math.max(box.top - offsetHeight - 4, 8) : box.bottom + 4;
  menu.style.left = `${left}px`;
  menu.style.top = `${top}px`;
  entries[0].focus();
}
