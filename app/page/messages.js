// The two lines of text below the buttons of step 1: the status and the latest error.

import { byId } from "./dom.js";

export function showStatus(text) {
  byId("status").textContent = text;
}

export function showError(text) {
  byId("error").textContent = text;
}
