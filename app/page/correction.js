// Corrects answers: what was asked about becomes an example of the class that the visitor names.

import { cardFor, everyCard, moveExample } from "./classes.js";
import { plural } from "./dom.js";
import { offerUndo } from "./undo.js";
import { follow } from "./updating.js";

const holderOf = ({ id }) => everyCard().find((card) => card.examples.some((each) => each.id === id));

/**
 * Add examples to classes and, if nothing else waits, to the task at once. `corrections` lists {example, label,
 * answer}: a label of null means none of the classes, `answer` is what the task said of it. Whoever changes their mind
 * about one has it moved.
 */
export function correct(corrections) {
  const fresh = corrections.filter(({ example }) => !holderOf(example));
  for (const { example, label } of corrections) {
    const holder = holderOf(example);
    if (holder && holder !== cardFor(label)) moveExample(holder, example, cardFor(label));
  }
  if (!fresh.length) return;
  const examples = fresh.map(({ example }) => example);
  const add = () => fresh.forEach(({ example, label }) => cardFor(label).add([example]));
  const take = () => examples.forEach((example) => holderOf(example)?.take(example));
  follow(add, examples, new Map(fresh.map(({ example, answer }) => [example.id, answer])));
  const added = fresh.length === 1 ? `Added this as an example of ${fresh[0].label ?? "things that are none of these"}` : `Added ${plural(fresh.length, "example")}`;
  offerUndo(added, () => follow(take, []));
}
