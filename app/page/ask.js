// Step 2: the large pad. Every change on it asks the current task and shows the answer.

import { call } from "./api.js";
import { byId, reducedMotion } from "./dom.js";
import { onFilesChosen, onFilesDropped, readPicture, showUnreadable } from "./files.js";
import { LiveAnswers } from "./live.js";
import { showError } from "./messages.js";
import { Pad } from "./pad.js";
import { makeBars, showAnswer } from "./verdict.js";

let task = null;
let answer = null; // the latest prediction

export const askPad = new Pad(byId("ask-pad"), (time) => live.changed(time));
const live = new LiveAnswers(ask, receive, (error) => showError(error.message));

export function setUpAsking() {
  const section = byId("ask");
  section.querySelector(".undo").addEventListener("click", () => askPad.undo());
  section.querySelector(".clear").addEventListener("click", () => askPad.clear());
  onFilesChosen(section.querySelector("input[type=file]"), askPicture);
  onFilesDropped(section, askPicture);
}

/** From now on ask this task, first about what is on the pad already. */
export function startAsking(created) {
  task = created;
  makeBars(task.labels);
  receive(null);
  live.changed();
  const oneColumn = matchMedia("(max-width: 60rem)").matches;
  if (oneColumn) byId("ask").scrollIntoView({ behavior: reducedMotion.matches ? "auto" : "smooth" });
}

export async function askPicture([file]) {
  const picture = await readPicture(file);
  if (picture) askPad.setPicture(picture);
  else showUnreadable();
}

async function ask() {
  if (!task || askPad.empty) return null;
  const { task_id: id, labels } = task;
  const content = { images: [askPad.encoded()] };
  const { predictions } = await call("POST", `tasks/${id}/predict?top_k=${labels.length}`, content);
  return task.task_id === id ? predictions[0] : null; // null: another task was created meanwhile
}

function receive(prediction) {
  answer = prediction;
  refreshAnswer();
}

/** Show the latest answer again, as after a change of the threshold. */
export function refreshAnswer() {
  if (askPad.empty) answer = null;
  showAnswer(answer);
}
