// What was removed can be brought back: by a button that appears for a while, or by Ctrl+Z.

import { byId, onClick, setText } from "./dom.js";

const SHOWN = 20_000; // milliseconds; Ctrl+Z works for longer
const MOST = 50; // changes that can be undone

let changes = []; // {text, undo, expire}
let timer;

/** Say what was done and offer to `undo()` it. `expire()` is called once it can no longer be undone. */
export function offerUndo(text, undo, expire = () => {}) {
  changes.push({ text, undo, expire });
  if (changes.length > MOST) changes.shift().expire();
  show(text, true);
}

function show(text, undoable) {
  setText("toast-text", text);
  byId("toast-undo").hidden = !undoable;
  // Beside an open dialog nothing can be pressed, so the message moves into it.
  (document.querySelector("dialog[open]") ?? document.body).append(byId("toast"));
  byId("toast").hidden = false;
  clearTimeout(timer);
  timer = setTimeout(hide, SHOWN);
}

function hide() {
  if (byId("toast").contains(document.activeElement)) return (timer = setTimeout(hide, SHOWN));
  byId("toast").hidden = true;
}

/** Forget all: another classifier was opened. */
export function forgetChanges() {
  changes.splice(0).forEach(({ expire }) => expire());
  if (!byId("toast-undo").hidden) byId("toast").hidden = true;
}

function undoLast() {
  const change = changes.pop();
  if (!change) return;
  change.undo();
  show(`Undone: ${change.text}`, false);
}

export function setUpUndo() {
  onClick("toast-undo", undoLast);
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("close", () => document.body.append(byId("toast")));
  }
  onClick("toast-close", () => (byId("toast").hidden = true));
  document.addEventListener("keydown", (event) => {
    const wanted = (event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z";
    if (!wanted || event.defaultPrevented || event.target.matches("input:not([type=range]):not([type=file]), textarea") || !changes.length) return;
    event.preventDefault();
    undoLast();
  });
}
