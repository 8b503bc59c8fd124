// "My classifiers": what this browser keeps, and what else the server has for this key.

import { ApiError, call } from "./api.js";
import { button, byId, listItem, make, onClick, plural, setText, span } from "./dom.js";
import { changeDraft, draft, forgetDraft, keptDrafts, onClassifiersChanged, keptClasses, save } from "./drafts.js";
import { onFilesChosen } from "./files.js";
import { DAY, keptUntil, lifetimeChoice, takeawayChoices } from "./keeping.js";
import { keysNeeded, mayWrite } from "./key.js";
import { showError } from "./messages.js";
import { duplicate, openKept, openTask, startNew } from "./session.js";
import { offerUndo } from "./undo.js";

const UNDO_TIME = 20_000; // milliseconds before the server deletes what was deleted here
const PAGE = 100; // tasks that the server is asked for

export function setUpLibrary() {
  onClick("library-open", openLibrary);
  onClick("library-new", () => closing(() => startNew()));
  onFilesChosen(byId("library-import"), ([{ file }]) => importFile(file));
  onClassifiersChanged(() => byId("library").open && list());
}

async function openLibrary() {
  await save();
  byId("library").showModal();
  failed("");
  await list();
}

async function closing(action) {
  byId("library").close();
  await action();
}

const failed = (text) => (byId("library").open ? setText("library-note", text) : showError(text));

/** Open a classifier that was saved as a file, here or on another server. */
async function importFile(file) {
  failed(`Opening ${file.name}…`);
  try {
    const { task_id: id } = await call("POST", `tasks/import?ttl_seconds=${DAY}`, file);
    await closing(() => openTask(id));
  } catch (error) {
    failed(error.message);
  }
}

let listing = 0; // counts the lists asked for, so that a late one does not replace a newer one
let isWithoutList = false; // which the note says; what else it says is not the list's to remove

async function list() {
  const mine = ++listing;
  const kept = await keptDrafts();
  const classes = (await keptClasses()).filter(({ negatives }) => !negatives);
  if (mine !== listing) return;
  showKept(kept, classes, null);
  const tasks = await call("GET", `tasks?limit=${PAGE}`).then(
    ({ tasks: found }) => found,
    (error) => failed(error.message),
  );
  if (mine !== listing) return;
  if (tasks && isWithoutList) failed("");
  isWithoutList = !tasks;
  if (!tasks) return;
  showKept(kept, classes, tasks);
  const own = new Set(kept.flatMap(({ task, former }) => [task?.task_id, ...former]));
  const others = tasks.filter(({ task_id: id }) => !own.has(id));
  byId("library-others").hidden = others.length === 0;
  setText("library-others-title", keysNeeded() ? "Made elsewhere with your keys" : "Others on this server");
  byId("library-others").querySelector("ul").replaceChildren(...others.map(otherRow));
}

function showKept(kept, classes, tasks) {
  byId("library-empty").hidden = kept.length > 0;
  byId("library-kept").replaceChildren(...kept.map((each) => keptRow(each, classes.filter((one) => one.classifier === each.id), tasks)));
}

function otherRow(task) {
  const row = listItem();
  const about = `${plural(task.labels.length, "class", "classes")} · ${keptUntil(task)}`;
  const actions = make("div", { className: "row-actions" }, button("Open", () => closing(() => openTask(task.task_id))));
  row.append(span("row-name", titleOf(task.name, task.labels)), span("about", about), actions);
  return row;
}

const titleOf = (name, labels) => (name && name !== "playground" ? name : labels.slice(0, 6).join(", ")) || "Without a name";

/** `tasks`: what the server has, or null while it is not known. */
function keptRow(kept, classes, tasks) {
  const row = listItem();
  const isOpen = kept.id === draft.id;
  if (isOpen) row.setAttribute("aria-current", "true");
  const labels = classes.sort((one, other) => one.position - other.position).map(({ name }) => name);
  const title = titleOf(kept.name, kept.task?.labels ?? labels);
  const name = make("input", { className: "field", value: kept.name, placeholder: title, maxLength: 100, ariaLabel: `Name of ${title}` });
  name.onchange = () => rename(kept, name.value.trim());
  const actions = make("div", { className: "row-actions" });
  const look = { className: "primary", ariaLabel: `Open ${title}` };
  const open = button(isOpen ? "Go on" : "Open", () => closing(() => !isOpen && openKept(kept.id)), look);
  actions.append(open, button("Duplicate", () => closing(() => duplicate(kept.id)), { hidden: !mayWrite() }));
  if (kept.task && !isGone(kept.task, tasks)) {
    const changed = (task) => changeDraft(kept.id, { task }).then(list);
    actions.append(...takeawayChoices(kept.task, failed), lifetimeChoice(kept.task, changed, failed));
  }
  actions.append(button("Delete", () => remove(kept, title), { className: "quiet" }));
  row.append(name, span("about", about(kept, labels, tasks)), actions);
  return row;
}

function isGone(task, tasks) {
  if (task.expires_at && Date.parse(task.expires_at) < Date.now()) return true;
  return tasks !== null && tasks.length < PAGE && !tasks.some(({ task_id: id }) => id === task.task_id);
}

function about({ task, updated }, labels, tasks) {
  const count = plural((task?.labels ?? labels).length, "class", "classes");
  const changed = `changed ${new Date(updated).toLocaleDateString([], { dateStyle: "medium" })}`;
  if (!task) return `${count} · not created yet · ${changed}`;
  if (isGone(task, tasks)) return `${count} · no longer on the server: open it, and create it again`;
  return `${count} · ${keptUntil(task)}`;
}

/** Name a classifier, here and on the server. */
export async function rename({ id, task }, name) {
  await changeDraft(id, { name });
  if (id === draft.id) byId("name").value = name;
  if (!task || !mayWrite()) return;
  try {
    const changed = await call("PATCH", `tasks/${task.task_id}`, { name: name || null });
    await changeDraft(id, { task: changed });
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 404)) failed(error.message);
  }
}

/** Delete a classifier here and on the server; the latter once it can no longer be undone. */
async function remove({ id, task }, title) {
  const isOpen = id === draft.id;
  await save();
  const bringBack = await forgetDraft(id);
  let state = "waiting"; // then "deleted" or "undone"
  const expire = () => {
    if (state !== "waiting") return;
    state = "deleted";
    if (task && mayWrite()) call("DELETE", `tasks/${task.task_id}`, null, { keepalive: true }).catch(() => {});
  };
  const undo = async () => {
    // Once the server has deleted its part, the examples are still there to create it again.
    const changes = state === "deleted" ? { task: null, sent: [] } : {};
    state = "undone";
    await bringBack(changes);
    if (isOpen) await openKept(id);
  };
  // Before anything else is waited for, since the page may be left at any moment.
  setTimeout(expire, UNDO_TIME);
  addEventListener("pagehide", expire, { once: true });
  if (isOpen) await startNew("");
  await list();
  offerUndo(`Deleted ${title}`, undo, expire);
}
