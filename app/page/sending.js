// Sends examples in parts, so that hundreds of photos need no large request, and an interruption costs one part.

import { call, patiently, PICTURE } from "./api.js";
import { newId } from "./dom.js";
import { appendTo } from "./example.js";

const PART_IMAGES = 24;
const PART_BYTES = 4 * 2 ** 20;
const MOST_CHANGES = 8; // that others make to a task before one gives up

/**
 * Create a task, or add to `task`. `examples` lists {example, card, label}, with `predicted` where it corrects that
 * answer; `options.negatives` lists {example, card}. Calls `begin(part)` before each addition, which resolves to its
 * key, `received(task, part, negatives)` after each part, with null after an addition, `progress(text, done, total)`,
 * `tell(text)` while it waits for the server, `refuse(each, reason)` for a photo that the server cannot read, which is
 * left out, and `caughtUp()`, see `addition`. Throws `ApiError`, whose `part` was the one under way.
 */
export async function send(task, examples, options, { begin, received, progress, tell, refuse, caughtUp, signal }) {
  const isJudged = ({ predicted }) => predicted !== undefined;
  const parts = [...intoParts(examples.filter((each) => !isJudged(each))), ...intoParts(examples.filter(isJudged))];
  let { negatives = [] } = options;
  let done = 0;
  progress("Sending examples", done, examples.length);
  while (parts.length) {
    let part = parts.shift();
    while (part.length) {
      signal.throwIfAborted();
      try {
        const isNew = task === null;
        const attempt = isNew
          ? creation(part, { ...options, negatives }, signal)
          : addition(task, part, await begin(part), signal, caughtUp);
        task = await patiently(attempt, tell, signal);
        await received(task, part, isNew ? negatives : null);
        break;
      } catch (error) {
        error.part = task ? part : [...part, ...negatives];
        if (error.status === 413 && part.length > 3) {
          const half = Math.ceil(part.length / 2); // this server takes smaller requests than most
          parts.unshift(part.slice(half));
          part = part.slice(0, half);
          continue;
        }
        const bad = error.isAboutPicture ? error.part[error.index] : undefined;
        if (!bad?.example.blob || (part.length === 1 && bad === part[0])) throw error;
        refuse(bad, error.message.replace(PICTURE, "This picture "));
        part = part.filter((each) => each !== bad);
        negatives = negatives.filter((each) => each !== bad);
      }
    }
    done += part.length;
    progress("Sending examples", done, examples.length);
  }
  return task;
}

/** Parts of at most so many images and bytes. The classes take turns, so that each part has several. */
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
  return parts;
}

function form(part) {
  const made = new FormData();
  for (const { example, label, predicted } of part) {
    appendTo(made, "images", example);
    made.append("labels", label);
    if (predicted !== undefined) made.append("predicted", predicted);
  }
  return made;
}

function creation(part, { name, model, ttl, keepImages, negatives }, signal) {
  const content = form(part);
  for (const { example } of negatives) appendTo(content, "negatives", example);
  content.append("name", name);
  if (model) content.append("model", model);
  if (ttl) content.append("ttl_seconds", ttl);
  if (keepImages) content.append("keep_images", "true");
  const headers = { "Idempotency-Key": newId() }; // an answer that was lost makes no second task
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
