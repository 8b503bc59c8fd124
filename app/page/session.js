// Which classifier is open: the one in the address, the last one, a new one, a copy.

import { fromAddress, restoreAddress, settleAddress, showInAddress } from "./address.js";
import { call } from "./api.js";
import { showQuestion, stopAsking } from "./ask.js";
import { classRecords, showClasses } from "./classes.js";
import { byId, newId, plural, recall, remember } from "./dom.js";
import { draft, draftOfTask, isCreation, openDraft, openNew, recordsOf, setUpDrafts } from "./drafts.js";
import { nextPosition } from "./example.js";
import { mayWrite } from "./key.js";
import { hideNotice, showNotice } from "./messages.js";
import { chooseModel } from "./models.js";
import { refreshTask, resetTask, showNoTask, showTask } from "./task.js";
import { leaveReading } from "./teaching.js";
import { forgetChanges, offerUndo } from "./undo.js";
import { createTask, stopUpdating } from "./updating.js";

const LAST = "last"; // under which the browser remembers the last classifier

let isMisled = false; // whether the notice says that an address could not be opened
let following; // settles when the page shows what the address names; each change of the address waits for the last

export async function setUpSession() {
  setUpDrafts({
    collect: () => classRecords(draft.id),
    show,
    onkept: () => {
      remember("localStorage", LAST, draft.id);
      showInAddress(draft, true);
    },
    ongone: async () => {
      await startNew("");
      showNotice("This classifier was deleted in another tab.");
    },
    leaving: leaveReading,
  });
  for (const change of ["hashchange", "online"]) addEventListener(change, followAddress);
  await (following = follow(true));
  if (!draft.task) showNoTask();
  if (isCreation(draft) && !draft.underway.stopped && mayWrite()) createTask(); // it was left before the answer
}

/** Open what the address names, unless it is open. Another key, or being online again, may make that possible. */
export function followAddress() {
  const again = () => follow(false);
  following = following?.then(again, again);
}

/** `isFirst`: the page has just been loaded, and without a name in the address opens the last classifier. */
async function follow(isFirst) {
  const address = location.hash;
  const { task, draft: id } = fromAddress();
  let isOpen = isFirst || Boolean(id);
  if (task) isOpen = task === draft.task?.task_id || (await openTask(task)) || isFirst;
  // A classifier that is not kept is one of which nothing was made yet.
  else if (id && id !== draft.id) (await openKept(id, true)) || (await openNew({ id }));
  else if (isFirst) await openKept(recall("localStorage", LAST), true);
  if (location.hash !== address) return; // someone goes on, and is followed next
  if (isOpen) settleAddress();
  else restoreAddress();
}

/** Show the open classifier. `isRemote`: another tab has changed it. */
async function show(classes, examples, isRemote) {
  if (isRemote) {
    showInAddress(draft, true);
  } else {
    for (const dialog of document.querySelectorAll("dialog[open]:not(#library)")) dialog.close(); // of the former one
    if (isMisled) hideNotice();
    isMisled = false;
    stopUpdating();
    resetTask();
    forgetChanges();
    stopAsking();
  }
  if (document.activeElement !== byId("name")) byId("name").value = draft.name;
  chooseModel(draft.model);
  byId("keep-images").checked = draft.keepImages;
  showClasses(classes, examples);
  const mine = draft;
  await showQuestion();
  if (mine !== draft) return;
  if (draft.task) showTask(true);
  else showNoTask();
}

/** Open a classifier that this browser keeps. `isFirst`: without a new entry in the history. */
export async function openKept(id, isFirst = false) {
  const address = location.hash;
  if (!id || !(await openDraft(id))) return false;
  // Someone who has gone back or forward meanwhile is followed next.
  if (location.hash === address) {
    settleAddress();
    showInAddress(draft, isFirst);
  }
  remember("localStorage", LAST, draft.id);
  refreshTask();
  return true;
}

/** Open a task, which may have been made in another browser or by code. Whether there is one. */
export async function openTask(taskId) {
  const kept = await draftOfTask(taskId);
  if (kept) return openKept(kept.id);
  let task;
  try {
    task = await call("GET", `tasks/${taskId}`);
  } catch (error) {
    isMisled = true;
    showNotice(
      error.status === 404
        ? "There is no classifier at this address. It was deleted, has expired, or belongs to another key."
        : error.message,
    );
    return false;
  }
  const classes = task.labels.map((name) => ({ id: newId(), position: nextPosition(), name, drawing: null }));
  const name = task.name === "playground" ? "" : (task.name ?? "");
  await openNew({ name, task, keepImages: task.keep_images }, classes);
  showInAddress(draft);
  await refreshTask(); // which lists its examples
  return true;
}

let starting = null; // the promise of a new classifier

/**
 * Begin anew; what was open stays in "My classifiers", and can be brought back at once. Where nothing was made yet,
 * there is nothing to do: a second press would lose the way back.
 */
export function startNew(text = "Started a new classifier. The other one is in “My classifiers”") {
  starting ??= begin(text).finally(() => (starting = null));
  return starting;
}

async function begin(text) {
  const { id, task, name } = draft;
  const { blank } = classRecords(id);
  if (text && blank && !task && !name) return;
  await openNew();
  showInAddress(draft);
  if (text) offerUndo(text, () => openKept(id));
}

/** The names of the classes that have examples. */
function namesOf(classes, examples) {
  const hasAny = ({ id, drawing }) => drawing || examples.some((each) => each.class === id);
  const used = classes.filter((each) => !each.negatives && hasAny(each));
  return used.sort((one, other) => one.position - other.position).map(({ name }) => name);
}

export async function duplicate(id) {
  const { found, classes, examples } = await recordsOf(id);
  const ids = new Map(classes.map((each) => [each.id, newId()]));
  const copies = classes.map((each) => ({
    ...each,
    id: ids.get(each.id),
    drawing: each.drawing && { ...each.drawing, id: newId() },
  }));
  const here = examples.filter(({ remote }) => !remote);
  const copied = here.map((each) => ({ ...each, id: newId(), class: ids.get(each.class) }));
  const name = `Copy of ${found.name || namesOf(classes, examples).join(", ")}`.slice(0, 100);
  await openNew({ name, model: found.model, keepImages: found.keepImages }, copies, copied);
  showInAddress(draft);
  const left = examples.length - here.length;
  if (left) showNotice(`${plural(left, "example")} could not be copied: this browser does not have their pictures.`);
}
