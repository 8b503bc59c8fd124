// Small helpers to find and make elements of the page.

export const byId = (id) => document.getElementById(id);

export const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

export function listItem(text = "") {
  return Object.assign(document.createElement("li"), { textContent: text });
}

export function span(className, text = "") {
  return Object.assign(document.createElement("span"), { className, textContent: text });
}

export function makeCanvas(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}
