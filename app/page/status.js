// The sentences that say how far the classes are, what is new among them, and what comes next.

import { allExamples, countDrawn } from "./classes.js";
import { plural } from "./dom.js";
import { isDrawn } from "./example.js";
import { mayWrite } from "./key.js";
import { takesPhotos } from "./models.js";

/** What is missing before there can be a task. */
export function progress() {
  if (!mayWrite()) return "";
  const drawn = countDrawn();
  if (drawn === 0) return "Fill two boxes, and you can create your classifier.";
  if (drawn === 1) return `One class has examples. Fill one more box, and you can create your classifier.${mixture()}`;
  return `${drawn} classes have examples. Create the classifier now, or add more.${mixture()}`;
}

export const STUCK = "This would need all pictures of the classifier, and this browser does not have them.";

/** What is said while the cards and the task differ. `isStuck`: it would have to be made anew, which it cannot here. */
export function changed({ fresh, moved, removed }, isStuck) {
  if (!mayWrite()) return "";
  if (isStuck) return STUCK;
  if (!fresh.length && !moved.length && !removed.length) return "To use this choice, create the classifier again.";
  if (countDrawn() < 2) return "A classifier needs two classes. Fill another box; until then it stays as it was.";
  const onlyNew = !moved.length && !removed.length && fresh.length;
  return onlyNew
    ? `Update the classifier to use the new ${fresh.length === 1 ? "example" : "examples"}.${mixture()}`
    : `The examples have changed. Update the classifier to use them.${mixture()}`;
}

/** What can be done with a task that is up to date. */
export const ready = (task) => `Ready: ${task.labels.length} classes. Now ${next(task)}${mixture()}`;

export const next = ({ model }) =>
  takesPhotos(model) ? "show it another photo." : "draw one of them again.";

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
