// How long the server keeps a task, its name there, and what can be taken away from it.

import { linkTo } from "./address.js";
import { call } from "./api.js";
import { button, byId, copyFrom, make, onChosen, onClick, saveAs, setText } from "./dom.js";
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

/** A list of what can be done: [text, value] of each. `act(value)` does it, and `failed(text)` says why it could not. */
function choice(title, name, options, act, failed, properties = {}) {
  const made = make("select", { ariaLabel: name, ...properties });
  for (const [text, value] of [[title, ""], ...options]) made.add(new Option(text, value));
  onChosen(made, (value) => act(value).catch((error) => failed(error.message)));
  return made;
}

/** A choice of how long a task is kept from now on. `changed(task)` gets the task as it is then. */
export function lifetimeChoice({ task_id: id }, changed, failed) {
  const keep = async (seconds) => changed(await call("PATCH", `tasks/${id}`, { ttl_seconds: JSON.parse(seconds) }));
  const times = LIFETIMES.map(([text, seconds]) => [text, JSON.stringify(seconds)]);
  const look = { className: "lifetime", hidden: !mayWrite() };
  return choice("Keep it for…", "How long the server keeps it, from now", times, keep, failed, look);
}

/** What shares a task and saves it as a file. */
export function takeawayChoices(task, failed) {
  const id = task.task_id;
  const save = async (path) => {
    const suffix = path === "parameters" ? "head.safetensors" : path;
    saveAs(`${id}-${suffix}`, await call("GET", `tasks/${id}/${path}`, null, { as: "blob" }));
  };
  return [button("Share", () => share(task)), choice("Save it…", "Save this classifier as a file", FILES, save, failed)];
}

function share(task) {
  byId("share-link").value = linkTo(task.task_id);
  setText("share-pictures", task.keep_images ? "They see its pictures, too." : "They do not get your pictures.");
  byId("share-key").hidden = !keysNeeded();
  byId("share").showModal();
  byId("share-link").select();
}

export function setUpSharing() {
  onClick("share-copy", () => copyFrom(byId("share-link"), byId("share-copy")));
}
