// Sends examples in parts, so that hundreds of photos need no large request, and an interruption costs one part.

import { call, patiently } from "./api.js";
import { newId } from "./dom.js";
import { asFile } from "./example.js";

const PART_IMAGES = 24;
const PART_BYTES = 4 * 2 ** 20;

/**
 * Create a task, or add to `task`. `examples` lists {example, card, label}. Calls `received(task, part, isNew)` after
 * each part, `progress(done, total)`, `tell(text)` while it waits for the server, and `refuse(each, reason)` for a
 * photo that the server cannot read, which is left out. Throws `ApiError`, whose `part` was the one under way.
 */
export async function send(task, examples, options, { received, progress, tell, refuse, signal }) {
  const parts = intoParts(examples);
  let done = 0;
  progress(done, examples.length);
  while (parts.length) {
    let part = parts.shift();
    while (part.length) {
      signal.throwIfAborted();
      try {
        const isNew = task === null;
        task = await patiently(isNew ? creation(part, options, signal) : addition(task, part, signal), tell, signal);
        received(task, part, isNew);
        break;
      } catch (error) {
        error.part = part;
        if (error.status === 413 && part.length > 3) {
          const half = Math.ceil(part.length / 2); // this server takes smaller requests than most
          parts.unshift(part.slice(half));
          part = part.slice(0, half);
          continue;
        }
        const bad = error.status === 422 ? part[error.index] : undefined;
        if (!bad?.example.blob || part.length === 1) throw error;
        refuse(bad, error.message);
        part = part.filter((each) => each !== bad);
      }
    }
    done += part.length;
    progress(done, examples.length);
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
  for (const { example, label } of part) {
    made.append("images", asFile(example), example.name ?? "drawing.png");
    made.append("labels", label);
  }
  return made;
}

function creation(part, { name, model, ttl }, signal) {
  const content = form(part);
  content.append("name", name);
  if (model) content.append("model", model);
  if (ttl) content.append("ttl_seconds", ttl);
  const headers = { "Idempotency-Key": newId() }; // an answer that was lost makes no second task
  return () => call("POST", "tasks", content, { headers, signal });
}

function addition(task, part, signal) {
  const path = `tasks/${task.task_id}`;
  const count = ({ shots }) => Object.values(shots).reduce((sum, each) => sum + each, 0);
  let doubtful = false; // whether the server may have added the part although its answer was lost
  return async () => {
    if (doubtful) {
      const now = await call("GET", path, null, { signal });
      if (count(now) >= count(task) + part.length) return now;
    }
    try {
      return await call("POST", `${path}/support`, form(part), { signal });
    } catch (error) {
      doubtful = error.status === 0;
      throw error;
    }
  };
}
