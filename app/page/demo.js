// The button "Show me an example": draws five signs, creates a task of them and asks it about a sixth drawing.

import { askPad } from "./ask.js";
import { allCards, classRecords, showClasses } from "./classes.js";
import { newId, reducedMotion } from "./dom.js";
import { draft, draftChanged } from "./drafts.js";
import { nextPosition } from "./example.js";
import { startNew } from "./session.js";
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

const STEP = 0.025; // distance between two points of a line, so that it can be drawn point by point

/** The points of a line through the corners. */
const line = (...corners) =>
  corners.flatMap(([x, y], i) => {
    if (i === 0) return [[x, y]];
    const [fromX, fromY] = corners[i - 1];
    const parts = Math.max(1, Math.round(Math.hypot(x - fromX, y - fromY) / STEP));
    return Array.from({ length: parts }, (_, p) => {
      const share = (p + 1) / parts;
      return [fromX + (x - fromX) * share, fromY + (y - fromY) * share];
    });
  });

const circle = (x, y, radius, points = 40) =>
  Array.from({ length: points }, (_, i) => {
    const angle = (2 * i / (points - 1) - 0.5) * Math.PI;
    return [x + radius * Math.cos(angle), y + radius * Math.sin(angle)];
  });

const RING = circle(0.5, 0.5, 0.34);

// Similar on purpose: signs that are easy to tell apart leave the inner loop nothing to do.
const SIGNS = {
  ring: [RING],
  target: [RING, circle(0.5, 0.5, 0.14, 20)],
  clock: [RING, line([0.5, 0.27], [0.5, 0.5], [0.66, 0.58])],
  wheel: [RING, line([0.5, 0.16], [0.5, 0.84]), line([0.16, 0.5], [0.84, 0.5])],
  stop: [RING, line([0.27, 0.73], [0.73, 0.27])],
};

/** The same sign a little turned, sheared, stretched and moved. Equal seeds give equal results. */
function varied(strokes, seed) {
  const about = [0.12, 0.1, 0.1, 0.1, 0.03, 0.03].map((size, i) => size * Math.sin(7 * seed + 5 * i));
  const [turn, shear, wide, high, right, down] = about;
  const vary = ([x, y]) => {
    const [u, v] = [(x - 0.5) * (1 + wide), (y - 0.5) * (1 + high)];
    return [
      0.5 + right + u * Math.cos(turn) - v * Math.sin(turn) + shear * v,
      0.5 + down + u * Math.sin(turn) + v * Math.cos(turn),
    ];
  };
  return strokes.map((stroke) => stroke.map(vary));
}
