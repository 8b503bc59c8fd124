// Calls to the HTTP API of the server that this page came from.

import { askForKey, currentKey } from "./key.js";

const PATIENCE = 60_000; // milliseconds for an answer, after which the server counts as away
const UPLOAD_PATIENCE = 300_000; // the same for a form, which takes long over a slow network
const LONGEST_WAIT = 30; // seconds that a refused call waits to be made again
const MOST_TRIES = 8;

export const PICTURE = /^image \d+ /; // what a problem with a picture begins with

/** An answer that is not a success. `index` is the position of the image at fault, or null. */
export class ApiError extends Error {
  constructor(status, problem, retryAfter = null) {
    super(problem.detail ?? `The server answered ${status}.`);
    this.status = status; // 0: there was no answer
    this.index = problem.index ?? null;
    this.retryAfter = retryAfter; // seconds
  }

  /** Whether the picture with this index cannot be read; else its label may be at fault. */
  get isAboutPicture() {
    return this.status === 422 && this.index !== null && PICTURE.test(this.message);
  }

  /** Whether the same call may succeed later. */
  get temporary() {
    if (this.status === 409) return this.retryAfter !== null; // others keep changing the task
    return [0, 429, 502, 503, 504].includes(this.status) && (this.retryAfter ?? 0) <= LONGEST_WAIT;
  }
}

/**
 * Send `content`, a form, a file or what is made into JSON, and return the parsed answer, or the whole one as a blob.
 * Throws `ApiError`. After a 401 it asks the visitor for a key and tries again.
 */
export async function call(method, path, content, { headers = {}, signal, as = "json", keepalive = false } = {}) {
  const isJson = content && !(content instanceof FormData) && !(content instanceof Blob);
  const body = isJson ? JSON.stringify(content) : content;
  for (;;) {
    const key = currentKey();
    const sent = { ...headers };
    if (key) sent.Authorization = `Bearer ${key}`;
    if (isJson) sent["Content-Type"] = "application/json";
    if (content instanceof Blob) sent["Content-Type"] = "application/octet-stream";
    const response = await answer(path, { method, body, headers: sent, keepalive }, signal);
    if (response.status === 401) {
      if (key === currentKey()) await askForKey(key !== ""); // else another call has got a new key meanwhile
      continue;
    }
    if (!response.ok) throw new ApiError(response.status, await response.json().catch(() => ({})), seconds(response));
    return response.status === 204 ? null : response[as]();
  }
}

async function answer(path, request, signal) {
  const patience = new AbortController();
  const isUpload = request.body && typeof request.body === "object";
  const timer = setTimeout(() => patience.abort(), isUpload ? UPLOAD_PATIENCE : PATIENCE);
  const stop = () => patience.abort();
  signal?.addEventListener("abort", stop);
  try {
    return await fetch(path, { ...request, signal: patience.signal });
  } catch {
    signal?.throwIfAborted();
    throw new ApiError(0, { detail: "The server does not answer. Is it still running?" });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}

function seconds(response) {
  const given = Number(response.headers.get("Retry-After") ?? NaN);
  return Number.isFinite(given) ? given : null;
}

/** How long to wait before the next try, in seconds: what the server asks for, or ever longer. */
export function pauseAfter(error, tries) {
  return Math.max(error.retryAfter ?? 0, Math.min(0.5 * 2 ** tries, 10)) + Math.random() / 4;
}

/** Why there is no answer yet, in a sentence. */
export function describe(error, pause) {
  const soon = `Trying again in ${Math.max(1, Math.round(pause))} s.`;
  if (error.status === 0 && !navigator.onLine) return "You are offline. This goes on by itself once you are back.";
  if (error.status === 0) return `The server does not answer. ${soon}`;
  if (error.status === 429) return `The server asks you to slow down. ${soon}`;
  return `The server is busy. ${soon}`;
}

/** Wait some seconds, or until the browser is online again. */
export function wait(pause, signal) {
  const over = new AbortController();
  const until = { signal: over.signal };
  return new Promise((resolve, reject) => {
    setTimeout(resolve, 1000 * pause);
    addEventListener("online", resolve, until);
    signal?.addEventListener("abort", () => reject(signal.reason), until);
  }).finally(() => over.abort());
}

/** Do `attempt()` again while it fails for a reason that passes; `tell(text)` says why it waits, or "". */
export async function patiently(attempt, tell, signal) {
  for (let tries = 0; ; tries++) {
    try {
      const result = await attempt();
      if (tries) tell("");
      return result;
    } catch (error) {
      if (!(error instanceof ApiError) || !error.temporary || tries >= MOST_TRIES) throw error;
      const pause = pauseAfter(error, tries);
      tell(describe(error, pause));
      await wait(pause, signal);
    }
  }
}
