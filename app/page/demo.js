// The button "Show me an example": draws five signs, creates a task of them and asks it about a sixth drawing.

import { askPad } from "./ask.js";
import { replaceClasses } from "./classes.js";
import { reducedMotion } from "./dom.js";
import { SIGNS, varied } from "./examples.js";
import { createTask, isUpToDate } from "./task.js";

const PAUSE = 18; // milliseconds between two points

let run = 0; // changes whenever the drawing under way must end

export async function showExample() {
  const names = Object.keys(SIGNS);
  replaceClasses(names).forEach((card, i) => card.pad.set(varied(SIGNS[card.name], i + 1)));
  askPad.clear();
  await createTask();
  if (isUpToDate()) await drawByHand(varied(SIGNS.clock, 77));
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
