// The open classifier as this browser keeps it: name, classes, examples and the task made of them.
// Each class and each example is a record of its own, so that two tabs that edit at once lose nothing of either.

import { read, readAll, write } from "./database.js";
import { FOLDER, newId } from "./dom.js";

const DELAY = 150; // milliseconds that changes are gathered before they are written

/**
 * The open classifier. `task` is what the server said of it last, or null. `sent` lists [id, label, number] of the
 * examples in it; the label is null if it is none of the classes, the number is the server's, null until it is known.
 * `former` lists the ids of tasks that it replaced. `underway` is null, or has {key, added, options} of a creation or
 * addition without an answer: its Idempotency-Key, [id, label] of what is sent, and the options of a creation.
 * `question` is what the large pad shows, `model` the chosen model or "".
 */
export let draft = blankDraft();

let collect; // () => {classes, examples, blank}: what the page shows, as records
let show; // (classes, examples, isRemote) => shows records on the page
let onkept; // called after the open classifier was written
let ongone; // called if another tab has deleted the open classifier
let leaving; // called before another classifier is opened, while what is shown can still be written
let stored = new Map(); // for each record's id what was written last, as text
let saves = 0; // how often anything was written
let timer = null;
let writing = Promise.resolve();
let onother = () => {}; // called when any classifier has changed, in this tab or another
const tabs = "BroadcastChannel" in window ? new BroadcastChannel(`leo-drafts${FOLDER}`) : null;

/** Whether what is under way makes another task, rather than adds to the one that there is. */
export const isCreation = ({ underway }) => Boolean(underway?.options);

function blankDraft() {
  const choices = { name: "", model: "", keepImages: false, question: null };
  const made = { task: null, sent: [], former: [], underway: null };
  return { id: newId(), ...choices, ...made, updated: Date.now() };
}

/** A record as this version writes it. What another version wrote differently, or what is damaged, is left out. */
function sound(record) {
  const found = { ...blankDraft(), updated: 0 };
  const { task, underway, question } = record;
  for (const [name, blank] of Object.entries(found)) {
    const isAlike = typeof record[name] === typeof blank && Array.isArray(record[name]) === Array.isArray(blank);
    if (isAlike) found[name] = record[name];
  }
  found.sent = found.sent.filter(Array.isArray);
  const isTask = task?.task_id && Array.isArray(task.labels) && Array.isArray(task.adaptation?.losses);
  if (!isTask) found.task = null;
  if (!Array.isArray(underway?.added)) found.underway = null;
  if (!(question?.blob instanceof Blob || Array.isArray(question?.strokes))) found.question = null;
  return found;
}

export function setUpDrafts(callbacks) {
  ({ collect, show, onkept, ongone, leaving } = callbacks);
  tabs?.addEventListener("message", ({ data }) => {
    onother();
    if (data.changed === draft.id) reload();
  });
  addEventListener("pagehide", () => save());
  document.addEventListener("visibilitychange", () => document.hidden && save());
  addEventListener("pageshow", (event) => event.persisted && reload()); // back from another page, maybe much later
}

export const onClassifiersChanged = (call) => (onother = call);

/** Write soon what has changed. */
export function draftChanged() {
  timer ??= setTimeout(save, DELAY);
}

/** Write now what has changed since the last time. */
export function save() {
  clearTimeout(timer);
  timer = null;
  const { classes, examples, blank } = collect();
  if (blank && !draft.task && !draft.name && !stored.has(draft.id)) return writing;
  const records = inStores(draft, classes, examples);
  const now = asTexts(records);
  const puts = records.filter(([, { id }]) => stored.get(id)?.text !== now.get(id).text);
  const deletes = [...stored].filter(([id]) => !now.has(id)).map(([id, { store }]) => [store, id]);
  if (puts.length + deletes.length === 0) return writing;
  saves += 1;
  draft.updated = Date.now();
  stored = now;
  const written = write(puts.map(([store, record]) => [store, { ...record }]), deletes);
  const { id } = draft;
  writing = Promise.all([writing, written]).then(() => announce(id));
  onkept();
  return writing;
}

/** Everything kept of a classifier as a list of [store, record]. */
const inStores = (classifier, classes, examples) => [
  ["classifiers", classifier],
  ...classes.map((each) => ["classes", each]),
  ...examples.map((each) => ["examples", each]),
];

/** For each record's id its {store, text}; the text changes whenever the record does. */
const asTexts = (records) => new Map(records.map(([store, record]) => [record.id, { store, text: TEXTS[store](record) }]));

const TEXTS = {
  classifiers: (each) => JSON.stringify({ ...each, updated: 0, question: mark(each.question) }),
  classes: (each) => JSON.stringify(each),
  examples: (each) => `${each.classifier} ${each.class} ${each.position}`,
};

/** A question in few characters: a photo is a new object whenever it is another photo. */
const mark = (question) => question && (question.strokes ?? question.id);

function announce(id) {
  tabs?.postMessage({ changed: id });
  onother();
}

/** Open a classifier that this browser keeps. False if it keeps no such one. */
export async function openDraft(id) {
  leaving();
  await save();
  return load(id, false);
}

/** Begin a new classifier, with these properties, and show these classes. */
export async function openNew(properties = {}, classes = [], examples = []) {
  leaving();
  await save();
  draft = { ...blankDraft(), ...properties };
  stored = new Map();
  for (const each of [...classes, ...examples]) each.classifier = draft.id;
  await show(classes, examples, false);
}

async function load(id, isRemote) {
  const before = saves;
  const { found: record, classes, examples } = await recordsOf(id);
  if (!record) return false;
  const found = sound(record);
  if (isRemote && draft.id !== id) return true; // another one was opened meanwhile
  if (isRemote && (timer !== null || before !== saves)) return reload(); // what was read is out of date
  if (isRemote) Object.assign(draft, found);
  else draft = found;
  stored = asTexts(inStores(found, classes, examples));
  await show(classes, examples, isRemote);
  return true;
}

/** Show what another tab has written, after writing what was changed here. */
async function reload() {
  const { id } = draft;
  if (timer !== null) await save();
  if (await load(id, true)) return true;
  if (stored.has(id) && draft.id === id) ongone();
  return true;
}

/** Write what was changed here and show what other tabs have written, whether or not word of it has come. */
export async function catchUp() {
  await save();
  await load(draft.id, true);
}

/** All classifiers that this browser keeps, the latest first. */
export async function keptDrafts() {
  const all = (await readAll("classifiers")).map(sound);
  return all.sort((one, other) => other.updated - one.updated);
}

/** The classes of all of them. */
export const keptClasses = () => readAll("classes");

/** The classifier of a task, or undefined. */
export const draftOfTask = async (taskId) => (await keptDrafts()).find(({ task, former }) => task?.task_id === taskId || former.includes(taskId));

/** Everything kept of a classifier: its own record, its classes and its examples. */
export async function recordsOf(id) {
  const found = await read("classifiers", id);
  return { found, classes: await readAll("classes", id), examples: await readAll("examples", id) };
}

/** Forget a classifier. Returns a function that brings it back, with changes to its own record. */
export async function forgetDraft(id) {
  const { found, classes, examples } = await recordsOf(id);
  const records = inStores(found, classes, examples).filter(([, record]) => record);
  await write([], records.map(([store, record]) => [store, record.id]));
  announce(id);
  return async (changes) => {
    await write(records.map(([store, record]) => [store, store === "classifiers" ? { ...record, ...changes } : record]));
    announce(id);
  };
}

/** Change a kept classifier that may or may not be the open one. */
export async function changeDraft(id, changes) {
  if (id === draft.id) {
    Object.assign(draft, changes);
    return save();
  }
  const found = await read("classifiers", id);
  if (found) await write([["classifiers", { ...found, ...changes }]]);
  announce(id);
}
