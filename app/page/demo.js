// The button "Show me an example": draws five signs, creates a task of them and asks it about a sixth drawing.

import { askPad } from "./ask.js";
import { allCards, classRecords, showClasses } from "./classes.js";
import { newId, reducedMotion } from "./dom.js";
import { draft, draftChanged } from "./drafts.js";
import { nextPosition } from "./example.js";
import { startNew } from "./session.js";
import { SIGNS, varied } from "./signs.js";
import { isUpToDate } from "./task.js";
import { createTask } from "./updating.js";

const PAUSE = 18; // milliseconds between two points

let run = 0; // changes whenever the drawing under way must end

let making = null; // the promise of the example, which a second press must not make again
let example = ""; // the id of the classifier that shows it

export async function showExample() {
  await (making ??= makeExample().finally(() => (making = null)));
  if (isUpToDate()) await drawByHand(varied(SIGNS.clock, 77));
}

async function makeExample() {
  if (draft.id === example && isUpToDate()) return;
  // What the visitor has made stays: the example is a classifier of its own.
  if (!classRecords(draft.id).blank || draft.task) await startNew("The example is a new classifier. The other one is in “My classifiers”");
  const classes = Object.keys(SIGNS).map((name) => ({ id: newId(), position: nextPosition(), name, drawing: null }));
  showClasses(classes, []);
  allCards().forEach((card, i) => card.pad.set(varied(SIGNS[card.name], i + 1)));
  draftChanged();
  askPad.clear();
  example = draft.id;
  await createTask();
}

export function stopDemo() {
  run += 1;
}

/** Draw on the large pad point by point, until `stopDemo()` is called. */
async function drawByHand(strokes) {
  const mine = ++run;
  askPad.clear();
  for (const stroke of strokes) {
    for (const [i, point] of stroke.entries()) {
      if (run !== mine) return;
      askPad.add(point, i === 0);
      if (!reducedMotion.matches) await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  }
}
