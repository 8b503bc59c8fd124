// The task made of the classes: whether the classes have changed since, and all that the page says about it.

import { call } from "./api.js";
import { startAsking } from "./ask.js";
import { differences, leavesTwo } from "./changes.js";
import { allCards, countDrawn, everyExample } from "./classes.js";
import { showCode } from "./code.js";
import { byId, setText } from "./dom.js";
import { draft, save } from "./drafts.js";
import { showLearning } from "./learning.js";
import { keysNeeded } from "./key.js";
import { showError, showStatus } from "./messages.js";
import { chosenModel, takesPhotos } from "./models.js";
import { hideQuality, showQuality } from "./quality.js";
import { changed, next, progress, ready } from "./status.js";
import { isBehind, sync } from "./syncing.js";

export const LEARNING = "Learning…"; // the status during an update
export const refused = new Set(); // ids of photos that the server could not read
let lost = ""; // why the server no longer has the task, or ""
let work = ""; // "asked" while an update is under way that the visitor asked for, "quiet" during another one, or ""

/** How the cards differ from the task. */
export function difference() {
  const found = differences(everyExample(), draft.sent);
  return { ...found, fresh: found.fresh.filter(({ example }) => !refused.has(example.id) && !example.remote) };
}

const isSame = ({ fresh, moved, removed }) => fresh.length + moved.length + removed.length === 0;

/** Whether the task must be made anew: there is none, or no change of its examples leads to what is wanted. */
export function needsNewTask(found = difference()) {
  const { task } = draft;
  if (!task || lost) return true;
  const isOther = (chosenModel() ?? task.model) !== task.model || draft.keepImages !== Boolean(task.keep_images);
  return isOther || !leavesTwo(task.shots, found);
}

/** Whether there is a task made of exactly what the cards show. */
export const isUpToDate = () => draft.task !== null && isSame(difference()) && !needsNewTask();

/** Whether all examples of the task are here with their pictures, so that it can be made anew. */
export const isWhole = () =>
  allCards().every(({ held }) => !held) && everyExample().every(({ example }) => !example.remote);

/** Show what may be done, after any change of the classes. */
export function classesEdited() {
  showError("");
  if (draft.task && !isUpToDate()) hideQuality();
  showState();
}

export function showWork(kind) {
  work = kind;
  if (kind === "asked") byId("create").setAttribute("aria-busy", "true");
  else byId("create").removeAttribute("aria-busy");
  if (kind) showStatus(LEARNING);
  showState();
}

/** Show whether there is anything to create or update, and what can be done next. */
function showState() {
  const { task } = draft;
  const found = difference();
  const isNew = needsNewTask(found);
  const isReady = task !== null && !isNew && isSame(found);
  const button = byId("create");
  button.textContent = isReady || !task ? "Create classifier" : isNew ? "Create it again" : "Update classifier";
  const isUseful = !isReady && countDrawn() >= 2 && (!isNew || isWhole());
  const isOffered = work === "asked" || (isUseful && work === "");
  if (!isOffered && document.activeElement === button) byId("ask").focus({ preventScroll: true });
  button.hidden = !isOffered;
  if (work) return;
  if (lost) showStatus(lost);
  else if (!task) showStatus(progress());
  else showStatus(isReady ? ready(task) : changed(found, isNew && !isWhole()));
}

/** Show all that the page says about the task of the open classifier. `quietly`: without moving the page. */
export function showTask(quietly) {
  const { task } = draft;
  document.body.classList.add("taught");
  const hint = next(task);
  setText("ask-hint", hint[0].toUpperCase() + hint.slice(1));
  setText("ask-pad-hint", takesPhotos(task.model) ? "press Photos below, or drop one here" : "draw here");
  showHeld();
  showLearning(task);
  showCode(task, (changed) => {
    draft.task = changed;
    save();
    showTask(true);
  });
  if (isUpToDate()) showQuality(task.quality, sources());
  showState();
  startAsking(task, quietly);
}

const isOfClass = ([, label]) => label !== null;

/** For the number of each example in the task its card, and its place and id there, if it is here. */
function sources() {
  const here = new Map(
    allCards().flatMap((card) => card.all().map(({ id }, index) => [id, { card, index, id }])),
  );
  return new Map(draft.sent.filter(isOfClass).map(([id, , number]) => [number, here.get(id)]));
}

/** Tell each card how many of its examples the server has and does not list. */
function showHeld() {
  const counts = new Map(Object.entries(draft.task?.shots ?? {}));
  for (const [, label] of draft.sent.filter(isOfClass)) counts.set(label, (counts.get(label) ?? 0) - 1);
  for (const card of allCards()) card.hold(Math.max(0, counts.get(card.name) ?? 0));
}

/** Show a classifier without a task. */
export function showNoTask() {
  document.body.classList.remove("taught");
  byId("inside").hidden = byId("use").hidden = true;
  setText("ask-hint", "Create a classifier first. Then draw or show something here, and it says what it is.");
  for (const card of allCards()) card.hold(0);
  hideQuality();
  showState();
}

/** The server has no such task any more, or another model. Say so beside the pad and offer to make it again. */
export function taskLost(error) {
  const gone = keysNeeded() ? "has expired, was deleted, or belongs to another key" : "has expired or was deleted";
  lost = error.status === 409 ? "The server has another model now." : `The server does not have this classifier: it ${gone}.`;
  lost += isWhole() ? " Your examples are still here." : " Its examples are not in this browser.";
  showState();
  return { text: lost, again: isWhole() && countDrawn() >= 2 };
}

/** The task is there: what was said of it is no longer true. */
export function taskFound() {
  lost = "";
}

/** Forget what was said about the task of the classifier that was open before. */
export function resetTask() {
  lost = "";
  refused.clear();
  showError("");
  hideQuality();
}

/** Ask the server for the task as it is now; it may have changed elsewhere, expired, or be another key's. */
export async function refreshTask() {
  const mine = draft;
  if (!mine.task || work) return;
  try {
    const task = await call("GET", `tasks/${mine.task.task_id}`);
    if (mine !== draft || work) return;
    const same = JSON.stringify(task) === JSON.stringify(mine.task);
    const isOlder = task.revision !== mine.task.revision;
    mine.task = task;
    if (isOlder || isBehind(mine)) await sync(mine).catch(() => {}); // next time, then
    if (mine !== draft) return;
    if (!same || lost) {
      taskFound();
      showTask(true);
    }
  } catch (error) {
    if (mine === draft && error.status === 404) taskLost(error);
  }
}
