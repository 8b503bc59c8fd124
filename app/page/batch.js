// Several photos asked about at once: a table of all answers, a confusion matrix if their folders say what they are.

import { call, patiently } from "./api.js";
import { button, byId, make, makeCanvas, onChosen, onClick, plural, saveAs, setText } from "./dom.js";
import { appendTo, ofPhoto, paint } from "./example.js";
import { labelOf } from "./files.js";
import { mayWrite } from "./key.js";
import { readPhotos } from "./photos.js";
import { confusionTable, countPairs, toCsv } from "./tables.js";
import { canReject, isUnknown, percent } from "./verdict.js";

const PART = 16; // photos in a request
const MOST_MISTAKES = 40; // that are judged at once, and
const MISTAKE_BYTES = 4 * 2 ** 20; // so large together
const THUMB_SIDE = 88;
const NONE = "none of these";

let batch = null; // {task, photos: [{path, label, photo, answer, row}], stop}
let correct; // (corrections) => teach them
let lost; // (error) => say that there is no such task any more, and return what was said as {text}

export function setUpBatch(callbacks) {
  ({ correct, lost } = callbacks);
  onClick("batch-close", closeBatch);
  onClick("batch-csv", () => saveAs("answers.csv", csv()));
  onClick("batch-learn", learnFromMistakes);
  onClick("batch-stop", () => batch?.stop.abort());
}

export function closeBatch() {
  batch?.stop.abort();
  batch = null;
  byId("batch").hidden = true;
}

/** Ask `task` about pictures, a list of {file, folders}. */
export async function askAboutAll(task, pictures) {
  closeBatch();
  const folders = pictures.map(labelOf);
  const isLabelled = folders.some((folder) => task.labels.includes(folder));
  const photos = pictures.map((each, i) => ({
    path: [...each.folders, each.file.name].join("/"),
    file: each.file,
    label: isLabelled ? folders[i] : null,
    photo: undefined, // null once it is known not to be readable
    answer: null,
  }));
  batch = { task, photos, isLabelled, stop: new AbortController() };
  byId("batch").hidden = false;
  byId("batch-rows").replaceChildren(...photos.map(makeRow));
  showSummary();
  byId("batch").scrollIntoView({ block: "nearest" });
  await run(batch);
}

/** Ask again, after the task has changed. */
export function refreshBatch(task) {
  if (!batch) return;
  if (batch.task.task_id === task.task_id && JSON.stringify(batch.task.shots) === JSON.stringify(task.shots)) return;
  batch.stop.abort();
  batch = { ...batch, task, stop: new AbortController() };
  for (const each of batch.photos) each.answer = null;
  run(batch);
}

async function run(mine) {
  const isCurrent = () => batch === mine && !mine.stop.signal.aborted;
  const { signal } = mine.stop;
  byId("batch-stop").hidden = false;
  setText("batch-note", "");
  byId("batch").classList.add("pending");
  try {
    const unread = mine.photos.filter(({ photo }) => photo === undefined);
    await readPhotos(
      unread.map(({ file }) => file),
      (photo, index) => {
        unread[index].photo = photo;
        if (photo) paint(unread[index].row.querySelector("canvas"), photo);
        showRow(unread[index]);
        const read = mine.photos.filter((each) => each.photo !== undefined).length;
        setText("batch-progress", `Reading photos: ${read} of ${mine.photos.length}`);
      },
      signal,
    );
    const asked = mine.photos.filter(({ photo }) => photo);
    for (let start = 0; start < asked.length && isCurrent(); start += PART) {
      setText("batch-progress", `Asking: ${start} of ${asked.length}`);
      await askPart(mine, asked.slice(start, start + PART), signal);
      if (isCurrent()) showSummary();
    }
  } catch (error) {
    const isLost = error.status === 404 || error.status === 409;
    if (isCurrent()) setText("batch-note", isLost ? lost(error).text : error.message);
  }
  if (batch !== mine) return;
  byId("batch-stop").hidden = true;
  setText("batch-progress", signal.aborted ? "Stopped." : "");
  byId("batch").classList.remove("pending");
  showSummary();
}

const mistakes = () => batch.photos.filter((each) => each.answer && labelIn(batch.task, each) !== null && !isRight(each));

/** Add as examples what would teach most, as the server sees it: of each class a few that it is furthest from. */
async function learnFromMistakes() {
  const mine = batch;
  let bytes = 0;
  const found = mistakes()
    .slice(0, MOST_MISTAKES)
    .filter(({ photo }) => (bytes += photo.blob.size) <= MISTAKE_BYTES);
  const form = new FormData();
  for (const { photo, label } of found) {
    appendTo(form, "images", photo);
    form.append("labels", label);
  }
  byId("batch-learn").disabled = true;
  try {
    const { wrong } = await call("POST", `tasks/${mine.task.task_id}/evaluate`, form, { signal: mine.stop.signal });
    if (batch !== mine) return;
    const worth = wrong.filter((each) => each.worth_adding).map(({ index }) => found[index]);
    if (worth.length) return correct(worth.map((each) => correctionOf(each)));
    setText("batch-note", "It has the right class for all of these. It says “None of these” too easily.");
  } catch (error) {
    if (batch === mine) setText("batch-note", error.message);
  } finally {
    byId("batch-learn").disabled = false;
  }
}

function correctionOf(each, label = each.label) {
  each.example ??= ofPhoto(each.photo);
  return { example: each.example, label, answer: each.answer.label };
}

/** Ask about a part; a photo that the server cannot read is left out. */
async function askPart({ task }, part, signal) {
  while (part.length) {
    const form = new FormData();
    for (const { photo } of part) appendTo(form, "images", photo);
    const tell = (text) => setText("batch-note", text);
    try {
      const ask = () => call("POST", `tasks/${task.task_id}/predict?top_k=2`, form, { signal });
      const { predictions } = await patiently(ask, tell, signal);
      part.forEach((each, i) => {
        each.answer = predictions[i];
        showRow(each);
      });
      return;
    } catch (error) {
      const bad = error.status === 422 && part[error.index];
      if (!bad) throw error;
      bad.photo = null;
      showRow(bad);
      part = part.filter((each) => each !== bad);
    }
  }
}

const said = ({ answer }) => (isUnknown(answer) ? NONE : answer.label);

/** Whether the answer is what the folder says; a folder that is no class of the task asks for "none of these". */
function isRight(each) {
  return said(each) === (labelIn(batch.task, each) ?? NONE);
}

function makeRow(each) {
  const canvas = makeCanvas(THUMB_SIDE, THUMB_SIDE);
  const name = make("td", { className: "path", textContent: each.path, title: each.path });
  each.row = make("tr", {}, make("td", {}, canvas), make("td", { className: "said" }), make("td", { className: "share" }), make("td"), name);
  const learn = button("", () => correct([correctionOf(each, labelIn(batch.task, each))]), { hidden: true });
  name.previousSibling.append(teachChoice(each), learn);
  return each.row;
}

/** The class of a labelled photo in a task, or null if its folder is no class of it. */
const labelIn = ({ labels }, { label }) => (labels.includes(label) ? label : null);

/** A choice of the class that a photo belongs to, or of none, which teaches it. */
function teachChoice(each) {
  const choice = make("select", { hidden: true });
  choice.ariaLabel = `Teach ${each.path} as`;
  const offer = () => {
    const { labels } = batch.task;
    const names = canReject(each.answer) ? [...labels, NONE] : labels;
    if (choice.options.length === names.length + 1) return;
    choice.replaceChildren(new Option("It was…", ""), ...names.map((name, i) => new Option(name, i)));
  };
  // Not before somebody wants one: a thousand photos of a hundred classes would have a hundred thousand options.
  choice.add(new Option("It was…", ""));
  for (const wanted of ["pointerdown", "focus"]) choice.addEventListener(wanted, offer);
  onChosen(choice, (i) => correct([correctionOf(each, batch.task.labels[i] ?? null)]));
  return choice;
}

function showRow(each) {
  const [, saidCell, shareCell, teachCell] = each.row.children;
  each.row.classList.remove("right", "wrong");
  if (each.photo === null) saidCell.textContent = "not a picture that can be read";
  if (!each.answer) return;
  saidCell.textContent = said(each);
  shareCell.textContent = percent(each.answer.confidence);
  if (each.label !== null) {
    const right = isRight(each);
    each.row.classList.add(right ? "right" : "wrong");
    saidCell.textContent = right ? `${said(each)} ✓` : `${said(each)} ✗`;
  }
  const [choice, learn] = teachCell.children;
  const label = labelIn(batch.task, each);
  learn.textContent = `Learn as ${label ?? NONE}`;
  learn.hidden = !mayWrite() || isRight(each) || !each.label || (label === null && !canReject(each.answer));
  choice.hidden = !mayWrite() || !learn.hidden;
}

/** Show what follows from all answers so far, as after a change of what is rejected. */
export function showSummary() {
  if (!batch) return;
  const answered = batch.photos.filter(({ answer }) => answer);
  answered.forEach(showRow);
  const right = answered.filter((each) => each.label !== null && isRight(each)).length;
  const of = batch.isLabelled && answered.length ? `: ${right} right, ${percent(right / answered.length)}` : "";
  setText("batch-title", `${answered.length} of ${plural(batch.photos.length, "photo")} answered${of}`);
  byId("batch-csv").disabled = answered.length === 0;
  byId("batch-learn").hidden = !mayWrite() || !byId("batch-stop").hidden || mistakes().length === 0;
  const labelled = answered.filter(({ label }) => label !== null);
  const pairs = labelled.map((each) => [each.label || "(no folder)", said(each)]);
  byId("confusion").hidden = pairs.length === 0;
  if (pairs.length) byId("confusion").replaceChildren(confusionTable(countPairs(pairs, batch.task.labels)));
}

function csv() {
  const heading = ["file", "folder", "answer", "confidence", "second", "second_confidence", "right"];
  const rows = batch.photos
    .filter(({ answer }) => answer)
    .map((each) => {
      const [, second] = each.answer.top_k;
      const right = each.label === null ? null : String(isRight(each));
      return [each.path, each.label, said(each), each.answer.confidence, second?.label, second?.confidence, right];
    });
  return toCsv([heading, ...rows]);
}
