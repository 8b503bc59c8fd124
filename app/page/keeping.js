// How long the server keeps a task, its name there, and what can be taken away from it.

import { linkTo } from "./address.js";
import { call } from "./api.js";
import { byId, button, make, onChosen, saveAs } from "./dom.js";
import { keysNeeded, mayWrite } from "./key.js";

export const DAY = 86400; // seconds
const LIFETIMES = [
  ["1 day", DAY],
  ["1 week", 7 * DAY],
  ["30 days", 30 * DAY],
  ["1 year", 365 * DAY],
  ["until it is deleted", null],
];

const FILES = [
  ["whole, to open it here or on another server", "export.zip"],
  ["with a page that runs it without a server", "standalone.zip"],
  ["as an ONNX graph", "export.onnx"],
  ["as its weights alone (safetensors)", "parameters"],
];

const formatTime = (time) => new Date(time).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

export const keptUntil = ({ expires_at: end }) => (end ? `kept until ${formatTime(end)}` : "kept until it is deleted");

/** A choice of how long a task is kept from now on. `changed(task)` gets the task as it is then. */
export function lifetimeChoice(task, changed, failed) {
  const choice = make("select", { className: "lifetime" });
  choice.setAttribute("aria-label", "How long the server keeps it, from now");
  choice.add(new Option("Keep it for…", ""));
  for (const [text, seconds] of LIFETIMES) choice.add(new Option(text, JSON.stringify(seconds)));
  choice.hidden = !mayWrite();
  onChosen(choice, async (seconds) => {
    try {
      changed(await call("PATCH", `tasks/${task.task_id}`, { ttl_seconds: JSON.parse(seconds) }));
    } catch (error) {
      failed(error.message);
    }
  });
  return choice;
}

/** What shares a task and saves it as a file. */
export function takeawayChoices(task, failed) {
  const choice = make("select");
  choice.setAttribute("aria-label", "Save this classifier as a file");
  choice.add(new Option("Save it…", ""));
  for (const [text, path] of FILES) choice.add(new Option(text, path));
  onChosen(choice, async (path) => {
    try {
      const suffix = path === "parameters" ? "head.safetensors" : path;
      saveAs(`${task.task_id}-${suffix}`, await call("GET", `tasks/${task.task_id}/${path}`, null, { as: "blob" }));
    } catch (error) {
      failed(error.message);
    }
  });
  return [button("Share", () => share(task)), choice];
}

function share(task) {
  byId("share-link").value = linkTo(task.task_id);
  byId("share-pictures").textContent = task.keep_images ? "They see its pictures, too." : "They do not get your pictures.";
  byId("share-key").hidden = !keysNeeded();
  byId("share").showModal();
  byId("share-link").select();
}

export function setUpSharing() {
  byId("share-copy").addEventListener("click", async () => {
    byId("share-link").select();
    const copied = await navigator.clipboard?.writeText(byId("share-link").value).then(() => true, () => false);
    byId("share-copy").textContent = copied ? "Copied" : "Selected: copy it";
    setTimeout(() => (byId("share-copy").textContent = "Copy"), 2000);
  });
}
