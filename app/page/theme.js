// The switch between the dark and the light theme; the choice is kept in the browser.

import { onClick, recall, remember } from "./dom.js";

const STORED = "theme";
const systemDark = matchMedia("(prefers-color-scheme: dark)");

/** `redraw()` is called after every change of the theme, since canvases do not follow CSS. */
export function setUpTheme(redraw) {
  const setTheme = (theme) => {
    document.documentElement.style.colorScheme = theme;
    redraw();
  };
  const stored = recall("localStorage", STORED);
  if (stored) setTheme(stored);
  systemDark.addEventListener("change", redraw);
  onClick("theme", () => {
    const theme = isDark() ? "light" : "dark";
    remember("localStorage", STORED, theme);
    setTheme(theme);
  });
}

function isDark() {
  const { colorScheme } = document.documentElement.style;
  return colorScheme ? colorScheme === "dark" : systemDark.matches;
}
