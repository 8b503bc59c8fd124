// Corrects an answer: what was asked about becomes an example of the class that the visitor names.

import { allCards, cardNamed } from "./classes.js";
import { createTask, isUpToDate } from "./task.js";
import { offerUndo } from "./undo.js";

/** Add an example to a class and, if nothing else has changed, to the task at once. */
export async function correct(example, label) {
  const wasUpToDate = isUpToDate();
  const card = cardNamed(label);
  card.add([example]);
  offerUndo(`Learned this as ${label}`, () => {
    const isReady = isUpToDate();
    allCards().find(({ id }) => id === card.id)?.take(example);
    if (isReady) createTask({ quietly: true });
  });
  if (wasUpToDate) await createTask({ quietly: true });
}
