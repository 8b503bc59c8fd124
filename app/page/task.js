// Creates a task from the classes and tracks whether the classes have changed since.

import { ApiError, call } from "./api.js";
import { startAsking } from "./ask.js";
import { checkedCards, countDrawn } from "./classes.js";
import { showCode } from "./code.js";
import { byId } from "./dom.js";
import { showLearning } from "./learning.js";
import { showError, showStatus } from "./messages.js";
import { chosenModel, takesPhotos } from "./models.js";
import { hideQuality, showQuality } from "./quality.js";

const TTL_SECONDS = 24 * 3600;

let task = null; // the latest one, as the server described it
let outdated = false; // the classes have changed since the task was sent
let creating = false; // a request to create a task is under way

/** Whether there is a task made of exactly what the cards show. */
export const isUpToDate = () => task !== null && !outdated;

export function classesEdited() {
  showError("");
  if ((task || creating) && !outdated) {
    outdated = true;
    hideQuality();
  }
  showButton();
  if (outdated) showStatus("The examples have changed. Create it again to use them.");
  else if (!task) showStatus(progress(countDrawn()));
}

function progress(drawn) {
  if (drawn === 0) return "";
  return drawn === 1 ? "One class has a drawing. At least two are needed." : `${drawn} classes are ready.`;
}

function showButton() {
  byId("create").textContent = outdated ? "Create it again" : "Create classifier";
}

export async function createTask() {
  const cards = creating ? null : checkedCards();
  if (!cards) return;
  creating = true;
  showError("");
  byId("create").setAttribute("aria-busy", "true");
  const sources = []; // for each support image: its card and its index among the card's examples
  try {
    const support = [];
    for (const card of cards) {
      for (const [index, image] of card.images().entries()) {
        support.push({ image, label: card.name });
        sources.push({ card, index });
      }
    }
    outdated = false;
    const content = { support, model: chosenModel(), name: "playground", ttl_seconds: TTL_SECONDS };
    taskCreated(await call("POST", "tasks", content), sources);
  } catch (error) {
    outdated = task !== null; // without a task there is nothing to be outdated
    showError(error.message);
    const source = error instanceof ApiError && sources[error.index];
    if (source) source.card.flag(source.index, error.message);
  } finally {
    creating = false;
    byId("create").removeAttribute("aria-busy");
  }
}

function taskCreated(created, sources) {
  task = created;
  const next = takesPhotos(task.model) ? "show it another photo." : "draw one of them again.";
  showButton();
  if (!outdated) showStatus(`Ready: ${task.labels.length} classes. Now ${next}`);
  byId("ask-hint").textContent = next[0].toUpperCase() + next.slice(1);
  document.body.classList.add("taught");
  showLearning(task.adaptation);
  showCode(task);
  showQuality(task.quality, sources);
  startAsking(task);
}
