// Calls to the HTTP API of the server that this page came from.

import { askForKey, currentKey } from "./key.js";

/** An answer that is not a success. `index` is the position of the support image at fault, or null. */
export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail ?? `The server answered ${status}.`);
    this.status = status;
    this.index = problem.index ?? null;
  }
}

/**
 * Send `content` as JSON and return the parsed answer. Throws `ApiError`.
 * After a 401 it asks the visitor for a key and tries again.
 */
export async function call(method, path, content) {
  const body = content && JSON.stringify(content);
  for (;;) {
    const key = currentKey();
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    if (body) headers["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(path, { method, body, headers });
    } catch {
      throw new ApiError(0, { detail: "The server does not answer. Is it still running?" });
    }
    if (response.status === 401) {
      if (key === currentKey()) await askForKey(key !== ""); // else another call has got a new key meanwhile
      continue;
    }
    if (!response.ok) throw new ApiError(response.status, await response.json().catch(() => ({})));
    return response.status === 204 ? null : response.json();
  }
}
