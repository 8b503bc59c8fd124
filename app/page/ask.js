// Step 2: the large pad. Every change on it asks the current task and shows the answer.

import { call, PICTURE } from "./api.js";
import { askAboutAll, closeBatch, refreshBatch } from "./batch.js";
import { button, byId, newId, onClick, plural, reducedMotion } from "./dom.js";
import { draft, draftChanged } from "./drafts.js";
import { appendTo, bitmapOf, encodeStrokes, ofPhoto, ofStrokes } from "./example.js";
import { onFilesChosen, onFolderChosen, sift } from "./files.js";
import { LiveAnswers } from "./live.js";
import { Pad } from "./pad.js";
import { readPhoto } from "./photos.js";
import { makeBars, markPending, showAnswer } from "./verdict.js";

let task = null;
let answer = null; // the latest prediction
let photo = null; // {id, blob, name} of the photo on the pad, if it shows one
let reading = null; // stands for the photo that is being read
let lesson = null; // the example that was made of what is on the pad
let callbacks; // `lost(error)`, `again()` and `correct(corrections)`

export const askPad = new Pad(byId("ask-pad"), (time) => padChanged(time));
const live = new LiveAnswers({ ask, show: receive, begin: markPending, delay: showNote, fail });

export function setUpAsking(given) {
  callbacks = given;
  const section = byId("ask");
  section.querySelector(".undo").onclick = () => askPad.undo();
  section.querySelector(".clear").onclick = () => askPad.clear();
  onClick("correct-none", () => correct(null));
  onFilesChosen(section.querySelector("input[type=file]"), askFiles);
  onFolderChosen(byId("ask-folder"), askFiles);
}

function padChanged(time) {
  lesson = null;
  if (!askPad.picture) photo = null;
  keepQuestion();
  live.changed(time);
}

function keepQuestion() {
  if (photo) draft.question = photo;
  else draft.question = askPad.empty ? null : { strokes: askPad.strokes };
  draftChanged();
}

/** Show the question that was kept with the open classifier. */
export async function showQuestion() {
  const { question } = draft;
  if (askPad.drawing) return;
  lesson = null;
  photo = question?.blob ? question : null;
  askPad.show(question?.strokes ?? [], photo && (await bitmapOf(photo)));
}

/** From now on ask this task, first about what is on the pad already. `quietly`: without moving the page. */
export function startAsking(created, quietly = false) {
  const isOther = task?.task_id !== created.task_id;
  task = created;
  makeBars(task.labels, correct);
  if (isOther) receive(null, true);
  showNote("");
  live.changed();
  refreshBatch(task);
  const { top } = byId("ask").getBoundingClientRect();
  const isInSight = top >= 0 && top < innerHeight / 3;
  if (!isInSight && !quietly) byId("ask").scrollIntoView({ behavior: reducedMotion.matches ? "auto" : "smooth" });
}

/** There is no task to ask. */
export function stopAsking() {
  task = null;
  receive(null, true);
  showNote("");
  closeBatch();
}

/** Ask about what was dropped, chosen or pasted: one picture on the pad, several in a table. */
export async function askFiles(found) {
  const { pictures, others } = sift(found);
  if (pictures.length > 1) {
    if (!task) return showNote("Create a classifier first. Then show it these photos again.");
    if (others) showNote(`${plural(others, "file")} left out: ${others === 1 ? "it is not a picture" : "they are not pictures"}.`);
    return askAboutAll(task, pictures);
  }
  const mine = (reading = {}); // a later photo, or another classifier, is not overtaken by one that takes long to read
  const { id } = draft;
  showNote("Reading the photo…");
  const read = pictures.length ? await readPhoto(pictures[0].file) : null;
  if (mine !== reading || id !== draft.id) return;
  if (!read) return showNote("That file is not a picture that can be read.");
  showNote("");
  photo = { id: newId(), ...read };
  askPad.setPicture(await bitmapOf(read));
}

async function ask() {
  if (!task || askPad.empty) return null;
  const { task_id: id, labels } = task;
  const path = `tasks/${id}/predict?top_k=${labels.length}`;
  const content = photo ? new FormData() : { images: [encodeStrokes(askPad.strokes)] };
  if (photo) appendTo(content, "images", photo);
  const { predictions } = await call("POST", path, content);
  return task?.task_id === id ? predictions[0] : null; // null: another task was created meanwhile
}

function receive(prediction, isNewest) {
  answer = prediction;
  refreshAnswer();
  if (isNewest) markPending(false);
}

/** Show the latest answer again, as after a change of what is rejected. */
export function refreshAnswer() {
  if (askPad.empty) answer = null;
  showAnswer(answer);
}

function fail(error) {
  receive(null, true);
  if (error.status !== 404 && error.status !== 409) return showNote(error.message.replace(PICTURE, "This picture "));
  const { text, again } = callbacks.lost(error);
  showNote(text, again ? button("Create it again", callbacks.again) : "");
}

function showNote(text, action = "") {
  if (byId("ask-note").textContent !== text) byId("ask-note").replaceChildren(text, action);
}

/** The visitor says that what is on the pad belongs to this class; null means to none. */
function correct(label) {
  if (askPad.empty || !answer) return;
  lesson ??= photo ? ofPhoto(photo) : ofStrokes(askPad.strokes.map((stroke) => [...stroke]));
  callbacks.correct([{ example: lesson, label, answer: answer.label }]);
}

