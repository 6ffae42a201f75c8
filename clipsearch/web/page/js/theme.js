// Loaded before anything is drawn, so that a page that was made dark never flashes white.
"use strict";
(() => {
  const chosen = localStorage.getItem("theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
})();
