// The switch between the dark and the light theme; the choice is kept in the browser.

import { byId } from "./dom.js";

const STORED = "leo-theme";
const systemDark = matchMedia("(prefers-color-scheme: dark)");

/** `redraw()` is called after every change of the theme, since canvases do not follow CSS. */
export function setUpTheme(redraw) {
  const setTheme = (theme) => {
    document.documentElement.dataset.theme = theme;
    redraw();
  };
  const stored = localStorage.getItem(STORED);
  if (stored) setTheme(stored);
  systemDark.addEventListener("change", redraw);
  byId("theme").addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    localStorage.setItem(STORED, theme);
    setTheme(theme);
  });
}

function isDark() {
  const { theme } = document.documentElement.dataset;
  return theme ? theme === "dark" : systemDark.matches;
}
