// The lines below step 1, which stay in sight: how far the work is, the status and the latest error.

import { byId, onClick, setText } from "./dom.js";

let stop = () => {};

export function showStatus(text) {
  setText("status", text);
}

export function showError(text) {
  setText("error", text);
}

/** A notice above all, about what the browser can keep. */
export function showNotice(text) {
  byId("notice").hidden = false;
  setText("notice-text", text);
}

export const hideNotice = () => (byId("notice").hidden = true);

/** Show how far some work is, and a button that calls `onstop()`. */
export function showProgress(text, done, total, onstop) {
  stop = onstop;
  byId("work").hidden = false;
  setText("work-text", `${text}: ${done} of ${total}`);
  byId("progress").max = total;
  byId("progress").value = done;
}

export function hideProgress() {
  byId("work").hidden = true;
}

export function setUpMessages() {
  onClick("stop", () => stop());
  onClick("notice-close", hideNotice);
}
