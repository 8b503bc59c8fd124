// Sends examples in parts, so that hundreds of photos need no large request, and an interruption costs one part.

import { call, patiently, PICTURE } from "./api.js";
import { appendTo } from "./example.js";

const PART_IMAGES = 24;
const PART_BYTES = 4 * 2 ** 20;
const MOST_CHANGES = 8; // that others make to a task before one gives up

/**
 * Create a task, or add to `task`. `examples` lists {example, card, label}, with `predicted` where it corrects that
 * answer; the label of what is none of the classes is null. `again` lists the ids of a first part that was sent before.
 * Calls `begin(part, isNew)` before each part, which resolves to {key, options} of the request, `received(task, part,
 * isNew)` after it, and `refuse(each, reason)` for a photo that the server cannot read, which is left out. Throws
 * `ApiError`, whose `part` was the one under way.
 */
export async function send(task, examples, again, { begin, received, progress, tell, refuse, caughtUp, signal }) {
  const first = again.map((id) => examples.find(({ example }) => example.id === id));
  const isKnown = first.length > 0 && first.every(Boolean);
  const others = examples.filter((each) => !isKnown || !first.includes(each));
  const isJudged = ({ predicted }) => predicted !== undefined;
  const parts = [...intoParts(others.filter((each) => !isJudged(each))), ...intoParts(others.filter(isJudged))];
  if (isKnown) parts.unshift(first);
  let done = 0;
  progress("Sending examples", done, examples.length);
  while (parts.length) {
    let part = parts.shift();
    while (part.length) {
      signal.throwIfAborted();
      try {
        const isNew = task === null;
        const { key, options } = await begin(part, isNew);
        const attempt = isNew ? creation(part, key, options, signal) : addition(task, part, key, signal, caughtUp);
        task = await patiently(attempt, tell, signal);
        await received(task, part, isNew);
        break;
      } catch (error) {
        error.part = part;
        if (error.status === 413 && part.length > 3) {
          const half = Math.ceil(part.length / 2); // this server takes smaller requests than most
          parts.unshift(part.slice(half));
          part = part.slice(0, half);
          continue;
        }
        const bad = error.isAboutPicture ? part[error.index] : undefined;
        if (!bad?.example.blob || part.length === 1) throw error;
        refuse(bad, error.message.replace(PICTURE, "This picture "));
        part = part.filter((each) => each !== bad);
      }
    }
    done += part.length;
    progress("Sending examples", done, examples.length);
  }
  return task;
}

/**
 * Parts of at most so many images and bytes. The classes take turns, so that each part has several. What is none of them
 * comes last in its part, as the server numbers it.
 */
function intoParts(examples) {
  const turns = new Map();
  const turn = ({ label }) => turns.set(label, (turns.get(label) ?? 0) + 1).get(label);
  const inTurns = examples.map((each) => [turn(each), each]).sort(([one], [other]) => one - other);
  const parts = [];
  let bytes = Infinity;
  for (const [, each] of inTurns) {
    const size = each.example.blob?.size ?? 2000;
    if (bytes + size > PART_BYTES || parts.at(-1).length >= PART_IMAGES) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1).push(each);
    bytes += size;
  }
  for (const part of parts) part.sort((one, other) => (one.label === null) - (other.label === null));
  return parts;
}

function form(part) {
  const made = new FormData();
  for (const { example, label, predicted } of part) {
    appendTo(made, label === null ? "negatives" : "images", example);
    if (label !== null) made.append("labels", label);
    if (predicted !== undefined) made.append("predicted", predicted);
  }
  return made;
}

/** Create a task. All attempts have one key, by which the server makes one task of them. */
function creation(part, key, options, signal) {
  const content = form(part);
  for (const [name, value] of Object.entries(options)) content.append(name, value);
  const headers = { "Idempotency-Key": key };
  return () => call("POST", "tasks", content, { headers, signal });
}

/**
 * Add a part to the task that is known, and to no other state of it. All attempts have one key, by which the server adds
 * it once, whatever answers are lost. So if others have changed the task, the part is not in it: `caughtUp()` resolves
 * to the task as it is now.
 */
function addition(task, part, key, signal, caughtUp) {
  const path = part[0].predicted === undefined ? "support" : "feedback";
  const content = form(part);
  return async () => {
    for (let tries = 0; ; tries++) {
      try {
        const headers = { "Idempotency-Key": key, "If-Match": `"${task.revision}"` };
        return await call("POST", `tasks/${task.task_id}/${path}`, content, { headers, signal });
      } catch (error) {
        if (error.status !== 412 || tries === MOST_CHANGES) throw error;
      }
      task = await caughtUp();
    }
  };
}
