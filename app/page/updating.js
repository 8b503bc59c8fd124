// Makes the task what the cards show: creates it, or adds, moves and removes its examples one after the other.

import { showTaskInAddress } from "./address.js";
import { ApiError, call, patiently, PICTURE } from "./api.js";
import { keyOf } from "./changes.js";
import { checkClasses, everyExample } from "./classes.js";
import { FOLDER, newId, plural } from "./dom.js";
import { catchUp, changeDraft, draft, isCreation } from "./drafts.js";
import { hideProgress, showError, showProgress, showStatus } from "./messages.js";
import { chosenModel } from "./models.js";
import { send } from "./sending.js";
import { STUCK } from "./status.js";
import { difference, isUpToDate, isWhole, LEARNING, needsNewTask, refused, showTask, showWork, taskFound, taskLost } from "./task.js";
import { isBehind, sync } from "./syncing.js";
import { readingDone } from "./teaching.js";

const TTL_SECONDS = 24 * 3600; // of a new task
const HANDOVER_SECONDS = 24 * 3600; // that a task which was replaced still answers
const MANY = 24; // examples of which the progress is shown

let updating = null; // {of, done, stop}: the classifier whose task is being changed, the end of that, and how to stop it
let followers = 0; // changes that the task is taking over, or waits to
const judged = new Map(); // for the id of an example by which an answer was corrected: that answer

/**
 * Make a change of these examples that the task takes over at once, unless something else waits for an update.
 * `answers` has the task's answers, by the ids of the examples that correct them.
 */
export async function follow(change, examples, answers = new Map()) {
  const mine = draft;
  // What is removed from the server alone could not be brought back: that waits for an update, too.
  const isInStep = (isUpToDate() || (followers > 0 && updating?.of === mine)) && !examples.some(({ remote }) => remote);
  for (const [id, answer] of answers) judged.set(id, answer);
  if (!isInStep) return change();
  followers += 1;
  if (!updating) showWork("quiet");
  try {
    change();
    if (updating?.of === mine) await updating.done; // it may have begun before this change
    if (mine === draft && !isUpToDate() && !needsNewTask()) await createTask({ quietly: true });
  } finally {
    followers -= 1;
    if (!updating && !followers) showWork("");
  }
}

/** Whether an example can be shown again: one that only the server had is gone once it was removed there. */
export const canReturn = ({ id, remote }) => !remote || draft.sent.some(([sent]) => sent === id);

/** Stop what is under way: another classifier is opened. */
export const stopUpdating = () => updating?.stop.abort();

/** Create the task, or bring it up to date. `quietly`: without moving the page to where one asks. */
export async function createTask({ quietly = false } = {}) {
  while (updating && updating.of !== draft) await updating.done; // it was told to stop when this one was opened
  if (updating) return updating.done;
  const stop = new AbortController();
  showWork(quietly ? "quiet" : "asked");
  const done = alone(draft.id, () => update(quietly, stop)).finally(() => {
    updating = null;
    hideProgress();
    showWork("");
  });
  updating = { of: draft, done, stop };
  return done;
}

/** Do something while no other tab does so with the same classifier. */
async function alone(id, action) {
  if (!navigator.locks) return action(); // browsers have locks over HTTPS and on localhost only
  const name = `leo${FOLDER}${id}`;
  const isFree = await navigator.locks.request(name, { ifAvailable: true }, async (lock) => lock && (await action(), true));
  if (isFree) return;
  showStatus("Another tab is updating this classifier…");
  return navigator.locks.request(name, async () => {
    await catchUp(); // with what the other tab has done
    await action();
  });
}

async function update(quietly, stop) {
  await readingDone();
  const mine = draft;
  if (stop.signal.aborted || !checkClasses() || isUpToDate()) return;
  showError("");
  const ifShown = (show) => (...given) => mine === draft && show(...given);
  const told = {
    signal: stop.signal,
    tell: ifShown((text) => showStatus(text || LEARNING)),
    progress: ifShown((text, done, total) => total > MANY && showProgress(text, done, total, () => stop.abort())),
  };
  try {
    if (needsNewTask()) await createAnew(mine, told);
    else await change(mine, told);
    if (mine !== draft) return; // another classifier was opened meanwhile
    showTaskInAddress(mine.task.task_id);
    showTask(quietly);
    if (refused.size) showError(`The server could not read ${plural(refused.size, "photo")}. They are marked.`);
  } catch (error) {
    if (error.status >= 400 && error.status < 500) await keep(mine, { underway: null }); // nothing of it was done
    else if (stop.signal.aborted && mine === draft && mine.underway) await keep(mine, { underway: { ...mine.underway, stopped: true } });
    if (mine === draft) failed(error, stop.signal);
  }
}

function failed(error, signal) {
  if (draft.task) showTask(true); // what was done before it failed
  if (signal.aborted) return showError("Stopped. What was sent already is in the classifier.");
  // A task made elsewhere may have kept no examples, which is a 409 too.
  if (error.status === 404 || (error.status === 409 && isWhole())) taskLost(error);
  else showError(error.message);
  const source = error instanceof ApiError && error.part?.[error.index];
  if (!source) return;
  if (error.isAboutPicture) return source.card.flag(source.example.id, error.message.replace(PICTURE, "This picture "));
  showError(`The name “${source.label}” cannot be used: ${error.message}`);
  source.card.field.focus();
}

async function createAnew(mine, told) {
  if (!isWhole()) throw new ApiError(422, { detail: STUCK });
  const replaced = mine.task;
  const shown = everyExample().filter(({ example }) => !refused.has(example.id));
  const again = isCreation(mine) ? mine.underway.added.map(([id]) => id) : [];
  await send(null, shown, again, { ...told, ...sendingOf(mine) });
  if (replaced) retire(replaced.task_id);
  await learnNumbers(mine, told);
}

/** Change the task that there is, which keeps its id. */
async function change(mine, told) {
  await learnNumbers(mine, told);
  told.signal.throwIfAborted();
  const { fresh, moved, removed } = difference();
  const answerTo = ({ example, label }) => (label === null ? undefined : judged.get(example.id));
  const news = fresh.map((each) => ({ ...each, predicted: answerTo(each) }));
  if (fresh.length) await send(mine.task, news, [], { ...told, ...sendingOf(mine) });
  await learnNumbers(mine, told);
  let done = 0;
  const step = async (entry, call, sent) => {
    told.progress("Changing examples", done++, moved.length + removed.length);
    await changeOne(mine, entry, call, sent, told);
  };
  for (const { entry, label } of moved) {
    await step(entry, ["PATCH", { label }], ([id, , number]) => [[id, label, number]]);
  }
  for (const entry of removed) await step(entry, ["DELETE", null], () => []);
}

/** Change one example in the task; `sent(entry)` is what then stands in place of its entry. */
async function changeOne(mine, [wanted, of], [method, content], sent, { signal, tell }) {
  const entry = mine.sent.find(([id, label]) => keyOf(label, id) === keyOf(of, wanted));
  if (!entry) return; // it was removed elsewhere
  signal.throwIfAborted();
  const path = `tasks/${mine.task.task_id}/${of === null ? "negatives" : "support"}/${entry[2]}`;
  try {
    const task = await patiently(() => call(method, path, content, { signal }), tell, signal);
    await took(mine, task, mine.sent.flatMap((each) => (each === entry ? sent(entry) : [each])));
  } catch (error) {
    if (error.status !== 404) throw error;
    await sync(mine); // somebody was faster; or the task is gone, and this says so
  }
}

const sendingOf = (mine) => ({
  refuse: ({ example, card }, reason) => {
    refused.add(example.id);
    card.flag(example.id, reason, true);
  },
  /** Keep that these are on their way: if the page ends before the answer, the next one goes on from here. */
  begin: async (part, isNew) => {
    const added = part.map(({ example, label }) => [example.id, label]);
    const isAgain = isNew === isCreation(mine) && JSON.stringify(mine.underway?.added) === JSON.stringify(added);
    const { key, options } = isAgain ? mine.underway : { key: newId(), options: isNew ? optionsOf(mine) : null };
    await keep(mine, { underway: { key, added, options } });
    return { key, options };
  },
  received: (task, part, isNew) => {
    if (isNew && mine.task) mine.former = [...mine.former, mine.task.task_id];
    // The numbers of examples added later are asked for at the end, once for all of them.
    const ofClasses = part.filter(({ label }) => label !== null).length;
    const numberOf = (label, index) => (isNew ? index - (label === null ? ofClasses : 0) : null);
    const added = part.map(({ example, label }, index) => [example.id, label, numberOf(label, index)]);
    const before = isNew ? [] : mine.sent;
    const known = new Set(before.map(([id, label]) => keyOf(label, id)));
    return took(mine, task, [...before, ...added.filter(([id, label]) => !known.has(keyOf(label, id)))]);
  },
  caughtUp: async () => {
    await sync(mine, []);
    return mine.task;
  },
});

/** Keep what the task is now, and which examples are in it. */
function took(mine, task, sent) {
  if (mine === draft) taskFound();
  return keep(mine, { task, sent, former: mine.former, underway: null });
}

/** Keep changes of a classifier, which may no longer be the open one. */
function keep(mine, changes) {
  Object.assign(mine, changes);
  return changeDraft(mine.id, changes);
}

/** Learn the numbers of what was sent, and what others have changed meanwhile. */
async function learnNumbers(mine, { tell, signal }) {
  if (isBehind(mine)) await patiently(() => sync(mine), tell, signal);
}

/** The options of a new task, which lasts as long as the one that it replaces, and a day at least. */
function optionsOf({ name, keepImages, task }) {
  const options = { name: name || "playground", keep_images: keepImages };
  const remaining = Math.round((Date.parse(task?.expires_at) - Date.now()) / 1000) || 0;
  if (task?.expires_at !== null) options.ttl_seconds = Math.max(TTL_SECONDS, remaining);
  if (chosenModel()) options.model = chosenModel();
  return options;
}

/** Let a task that was replaced answer for another day, for code that still uses it. */
function retire(taskId) {
  call("PATCH", `tasks/${taskId}`, { ttl_seconds: HANDOVER_SECONDS }).catch(() => {});
}
