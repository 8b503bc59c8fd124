// The lines below step 1, which stay in sight: how far the work is, the status and the latest error.

import { byId } from "./dom.js";

let stop = () => {};

export function showStatus(text) {
  byId("status").textContent = text;
}

export function showError(text) {
  byId("error").textContent = text;
}

/** A notice above all, about what the browser can keep. */
export function showNotice(text) {
  byId("notice").hidden = false;
  byId("notice-text").textContent = text;
}

export const hideNotice = () => (byId("notice").hidden = true);

/** Show how far some work is, and a button that calls `onstop()`. */
export function showProgress(text, done, total, onstop) {
  stop = onstop;
  byId("work").hidden = false;
  byId("work-text").textContent = `${text}: ${done} of ${total}`;
  byId("progress").max = total;
  byId("progress").value = done;
}

export function hideProgress() {
  byId("work").hidden = true;
}

export function setUpMessages() {
  byId("stop").addEventListener("click", () => stop());
  byId("notice-close").addEventListener("click", hideNotice);
}
