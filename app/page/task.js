// The task made of the classes: creates it, adds to it, and knows whether the classes have changed since.

import { ApiError, call } from "./api.js";
import { startAsking } from "./ask.js";
import { showTaskInAddress } from "./address.js";
import { allCards, allExamples, checkClasses, countDrawn } from "./classes.js";
import { showCode } from "./code.js";
import { byId, plural } from "./dom.js";
import { changeDraft, draft, save } from "./drafts.js";
import { isDrawn } from "./example.js";
import { showLearning } from "./learning.js";
import { keysNeeded } from "./key.js";
import { hideProgress, showError, showProgress, showStatus } from "./messages.js";
import { chosenModel, takesPhotos } from "./models.js";
import { hideQuality, showQuality } from "./quality.js";
import { send } from "./sending.js";
import { readingDone } from "./teaching.js";

const TTL_SECONDS = 24 * 3600; // of a new task
const HANDOVER_SECONDS = 24 * 3600; // that a task which was replaced still answers

let creating = null; // {of, done, stop}: the classifier whose task is being created, the end of that, and how to stop it
let refused = new Set(); // ids of photos that the server could not read
let lost = ""; // why the server no longer has the task, or ""

/** Whether there is a task made of exactly what the cards show. */
export const isUpToDate = () => draft.task !== null && !lost && difference().kind === "none";

/** How the cards differ from the task: not at all, by `fresh` examples only, or in what the task has already. */
function difference() {
  const now = new Map(allExamples().map((each) => [each.example.id, each]));
  const sent = new Map(draft.sent);
  const fresh = [...now.values()].filter(({ example }) => !sent.has(example.id) && !refused.has(example.id));
  const changed =
    draft.sent.some(([id, label]) => now.get(id)?.label !== label) || (chosenModel() ?? draft.task?.model) !== draft.task?.model;
  return { kind: changed ? "changed" : fresh.length ? "added" : "none", fresh };
}

/** Show what may be done, after any change of the classes. */
export function classesEdited() {
  showError("");
  if (draft.task && !isUpToDate()) hideQuality();
  showState();
}

function showState() {
  const kind = draft.task && !lost ? difference().kind : "new";
  byId("create").textContent =
    lost || kind === "changed" ? "Create it again" : kind === "added" ? "Update classifier" : "Create classifier";
  if (creating) return;
  if (lost) showStatus(lost);
  else if (kind === "changed") showStatus("The examples have changed. Create it again to use them.");
  else if (kind === "added") showStatus("There are new examples. Update the classifier to use them.");
  else if (kind === "new") showStatus(progress(countDrawn()));
  else showStatus(`Ready: ${draft.task.labels.length} classes. Now ${next()}`);
}

function progress(drawn) {
  if (drawn === 0) return "";
  return (drawn === 1 ? "One class has an example. At least two are needed." : `${drawn} classes are ready.`) + mixture();
}

/** A warning if one kind of example is rare among many of the other. */
function mixture() {
  const examples = allExamples();
  const drawn = examples.filter(({ example }) => isDrawn(example));
  const few = drawn.length <= examples.length - drawn.length ? drawn : examples.filter(({ example }) => !isDrawn(example));
  if (few.length === 0 || few.length > examples.length / 4) return "";
  const [one, other] = few === drawn ? ["drawing", "photos"] : ["photo", "drawings"];
  const places = [...new Set(few.map(({ label }) => label))].slice(0, 3).join(", ");
  return ` ${few.length === 1 ? `One ${one} is` : `${plural(few.length, one)} are`} among the ${other} (in ${places}). A classifier learns best from one kind.`;
}

const next = () => (takesPhotos(draft.task.model) ? "show it another photo." : "draw one of them again.") + mixture();

/** Create the task, or bring it up to date. `quietly`: without moving the page to where one asks. */
export async function createTask({ quietly = false } = {}) {
  if (creating?.of === draft) return creating.done;
  await creating?.done; // of another classifier, which was told to stop when this one was opened
  const stop = new AbortController();
  const done = create(quietly, stop).finally(() => {
    creating = null;
    byId("create").removeAttribute("aria-busy");
    hideProgress();
    showState();
  });
  creating = { of: draft, done, stop };
  return done;
}

async function create(quietly, stop) {
  await readingDone();
  if (stop.signal.aborted || !checkClasses()) return;
  showError("");
  if (draft.task && !lost && difference().kind === "none") return;
  byId("create").setAttribute("aria-busy", "true");
  const mine = draft;
  try {
    const isNew = needsNewTask();
    const replaced = isNew && !lost ? mine.task : null;
    await send(isNew ? null : mine.task, isNew ? allExamples() : difference().fresh, options(mine.task), {
      signal: stop.signal,
      tell: (text) => mine === draft && showStatus(text),
      progress: (done, total) => mine === draft && total > 24 && showProgress("Sending examples", done, total, () => stop.abort()),
      refuse: ({ example, card }, reason) => {
        refused.add(example.id);
        card.flag(example.id, reason);
      },
      received: (task, part, isNew) => {
        if (isNew) mine.sent = [];
        if (isNew && mine.task) mine.former = [...mine.former, mine.task.task_id];
        mine.task = task;
        mine.sent = [...mine.sent, ...part.map(({ example, label }) => [example.id, label])];
        if (mine !== draft) return changeDraft(mine.id, { task, sent: mine.sent, former: mine.former });
        lost = "";
        save();
      },
    });
    if (mine !== draft) return; // another classifier was opened meanwhile
    if (replaced) retire(replaced.task_id);
    showTaskInAddress(mine.task.task_id);
    showTask(quietly);
    if (refused.size) showError(`The server could not read ${plural(refused.size, "photo")}. They are marked.`);
  } catch (error) {
    if (mine !== draft) return;
    if (stop.signal.aborted) return showError("Stopped. What was sent already is in the classifier.");
    const isOwn = !allCards().some(({ held }) => held); // a task made elsewhere may have kept no examples: also a 409
    if (error.status === 404 || (error.status === 409 && isOwn)) taskLost(error);
    else showError(error.message);
    const source = error instanceof ApiError && error.part?.[error.index];
    if (source) source.card.flag(source.example.id, error.message);
  }
}

function needsNewTask() {
  if (!draft.task || lost) return true;
  if (difference().kind !== "changed") return false;
  if (!allCards().some(({ held }) => held)) return true;
  throw new ApiError(422, {
    detail: "This browser does not have all examples of this classifier. So it can add some, but not change or remove any.",
  });
}

/** The options of a new task, which lasts as long as the one that it replaces, and a day at least. */
function options(replaced) {
  const remaining = Math.round((Date.parse(replaced?.expires_at) - Date.now()) / 1000) || 0;
  const ttl = replaced?.expires_at === null ? null : Math.max(TTL_SECONDS, remaining);
  return { name: draft.name || "playground", model: chosenModel(), ttl };
}

/** Let a task that was replaced answer for another day, for code that still uses it. */
function retire(taskId) {
  call("PATCH", `tasks/${taskId}`, { ttl_seconds: HANDOVER_SECONDS }).catch(() => {});
}

/** Show all that the page says about the task of the open classifier. `quietly`: without moving the page. */
export function showTask(quietly) {
  const { task } = draft;
  document.body.classList.add("taught");
  const hint = next();
  byId("ask-hint").textContent = hint[0].toUpperCase() + hint.slice(1);
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

/** For each image in the task its card and the number of the example, or undefined if it is not here. */
function sources() {
  const here = new Map(
    allCards().flatMap((card) => card.all().map(({ id }, index) => [id, { card, index, id }])),
  );
  return draft.sent.map(([id]) => here.get(id));
}

/** Tell each card how many of its examples only the server has. */
function showHeld() {
  const counts = new Map(Object.entries(draft.task?.shots ?? {}));
  for (const [, label] of draft.sent) counts.set(label, (counts.get(label) ?? 0) - 1);
  for (const card of allCards()) card.hold(Math.max(0, counts.get(card.name) ?? 0));
}

/** Show a classifier without a task. */
export function showNoTask() {
  document.body.classList.remove("taught");
  byId("inside").hidden = byId("use").hidden = true;
  byId("ask-hint").textContent = "Teach it some signs first.";
  for (const card of allCards()) card.hold(0);
  hideQuality();
  showState();
}

/** The server has no such task any more, or another model. Say so beside the pad and offer to make it again. */
export function taskLost(error) {
  const gone = keysNeeded() ? "has expired, was deleted, or belongs to another key" : "has expired or was deleted";
  lost = error.status === 409 ? "The server has another model now." : `The server does not have this classifier: it ${gone}.`;
  const whole = !allCards().some(({ held }) => held);
  lost += whole ? " Your examples are still here." : " Its examples are not in this browser.";
  showState();
  return { text: lost, again: whole && countDrawn() >= 2 };
}

/** Forget what was said about the task of the classifier that was open before. */
export function resetTask() {
  creating?.stop.abort();
  lost = "";
  refused = new Set();
  showError("");
  hideQuality();
}

/** Ask the server for the task as it is now; it may have changed elsewhere, expired, or be another key's. */
export async function refreshTask() {
  const mine = draft;
  if (!mine.task) return;
  try {
    const task = await call("GET", `tasks/${mine.task.task_id}`);
    if (mine !== draft) return;
    const same = JSON.stringify(task) === JSON.stringify(mine.task);
    mine.task = task;
    if (!same || lost) {
      lost = "";
      showTask(true);
    }
  } catch (error) {
    if (mine === draft && error.status === 404) taskLost(error);
  }
}
