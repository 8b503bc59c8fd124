// Brings the page in step with a task that was changed elsewhere: by another browser, or by code.

import { ApiError, call } from "./api.js";
import { keyOf, pair } from "./changes.js";
import { allCards, cardFor, cardNamed, everyExample } from "./classes.js";
import { changeDraft, draft, isCreation, save } from "./drafts.js";
import { ofServer } from "./example.js";
import { takesPhotos } from "./models.js";

const MOST_TRIES = 5; // to read a task and its examples while others keep changing it
const TOGETHER = 24; // pictures that are shown at once

/** Whether the server may have other examples than the page knows of, or may spell a label in another way. */
export function isBehind(mine) {
  const { task, sent } = mine;
  const shots = Object.values(task.shots).reduce((sum, each) => sum + each, 0);
  const isKnown = ([, label, number]) => typeof number === "number" && (label === null || Object.hasOwn(task.shots, label));
  return additionOf(mine).length > 0 || shots + task.negatives !== sent.length || !sent.every(isKnown);
}

/** [id, label] of what an addition without an answer adds. */
const additionOf = (mine) => (isCreation(mine) ? [] : (mine.underway?.added ?? []));

/**
 * Read a classifier's task and its examples, and show what others have added, moved or removed. `doubtful` lists
 * [id, label] of what was sent without an answer.
 */
export async function sync(mine, doubtful = additionOf(mine)) {
  const [task, listed] = await readAll(mine);
  const withThem = pair([...mine.sent, ...doubtful], listed);
  const areIn = doubtful.every(([id]) => withThem.pairs.some(([paired]) => paired === id));
  const { pairs, others } = areIn ? withThem : pair(mine.sent, listed);
  const before = labelsOf(mine.sent);
  Object.assign(mine, { task, sent: pairs });
  if (areIn && doubtful.length) mine.underway = null;
  if (mine !== draft) {
    await changeDraft(mine.id, { task, sent: pairs, underway: mine.underway });
  } else {
    follow(before, labelsOf(pairs));
    await save();
    await showOthers(mine, others);
  }
}

/** A task and what it has, {index, label}. */
async function readAll({ task: { task_id: id }, sent }) {
  for (let tries = 1; ; tries++) {
    const task = await call("GET", `tasks/${id}`);
    const none = await call("GET", `tasks/${id}/negatives`);
    const { examples, revision } = await call("GET", `tasks/${id}/support`).catch((error) => {
      if (error.status !== 409 || sent.some(([, label]) => label !== null)) throw error;
      return { examples: [], revision: none.revision }; // a task made elsewhere may have kept no examples to list
    });
    const isSame = [revision, none.revision].every((each) => each === task.revision);
    if (isSame) return [task, [...examples, ...none.negatives.map((index) => ({ index, label: null }))]];
    if (tries === MOST_TRIES) throw new ApiError(409, { detail: "Others keep changing this classifier." }, 1);
  }
}

const labelsOf = (sent) => new Map(sent.map(([id, label]) => [keyOf(label, id), label]));

/** Do to the cards what was done to the task: `before` has the examples' labels as the page knew them. */
function follow(before, labels) {
  const moves = new Map(); // for each card the examples that have another label now, by that label
  for (const { example, card, label } of everyExample()) {
    const [known, now] = [before, labels].map((each) => each.get(keyOf(label, example.id)));
    if (now === undefined && (known !== undefined || example.remote)) card.take(example);
    if (now === undefined || known === undefined || now === known || label !== known) continue;
    if (!moves.has(card)) moves.set(card, new Map());
    moves.get(card).set(now, [...(moves.get(card).get(now) ?? []), example]);
  }
  for (const [card, byLabel] of moves) for (const [label, examples] of byLabel) move(examples, card, label);
}

function move(examples, card, label) {
  const isRenamed = examples.length === card.all().length && !allCards().some(({ name }) => name === label);
  if (isRenamed) return card.rename(label);
  for (const example of examples) card.take(example);
  cardNamed(label).add(examples);
}

/** Show examples that others have added: their pictures, where the task keeps them. */
async function showOthers(mine, others) {
  const { task } = mine;
  for (let start = 0; start < others.length; start += TOGETHER) {
    const part = others.slice(start, start + TOGETHER);
    const pictures = task.keep_images ? await Promise.all(part.map((each) => picture(task, each))) : [];
    if (mine !== draft || mine.task.task_id !== task.task_id) return;
    const known = new Set(mine.sent.map(([, label, number]) => keyOf(label, number)));
    part.forEach((each, i) => {
      const { index, label } = each;
      if (known.has(keyOf(label, index))) return;
      const example = ofServer(task.task_id, each, pictures[i], !takesPhotos(task.model));
      mine.sent = [...mine.sent, [example.id, label, index]];
      cardFor(label).add([example]);
    });
    await save();
  }
}

/** The picture of an example, or null: those of none of the classes are never kept. */
const picture = ({ task_id: id }, { index, label }) =>
  label === null ? null : call("GET", `tasks/${id}/support/${index}/image`, null, { as: "blob" }).catch(() => null);
