// Calls to the service this page came from. A call that meets a 401 waits until a key is given.

const form = document.getElementById("key-form");
const field = document.getElementById("key");
const note = document.getElementById("key-note");

let key = sessionStorage.getItem("leo-key") ?? "";
let given = null; // the promise of a key, shared by all calls that wait for one

export class Refused extends Error {
  /** An answer that is not a success; `index` is the support image at fault, if one is. */
  constructor(status, problem) {
    super(problem.detail ?? `the server answered ${status}`);
    this.status = status;
    this.index = problem.index ?? null;
  }
}

export const needsKey = () => key !== "";

/** What the server answers, parsed. `content` goes as JSON. Raises `Refused`. */
export async function call(method, path, content) {
  const body = content && JSON.stringify(content);
  for (;;) {
    const tried = key;
    const headers = tried ? { Authorization: `Bearer ${tried}` } : {};
    if (body) headers["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(path, { method, body, headers });
    } catch {
      throw new Refused(0, { detail: "The server does not answer. Is it still running?" });
    }
    if (response.status === 401) {
      if (tried === key) await askForKey(tried !== "");
      continue;
    }
    if (!response.ok) throw new Refused(response.status, await response.json().catch(() => ({})));
    return response.status === 204 ? null : response.json();
  }
}

function askForKey(refused) {
  given ??= new Promise((resolve) => {
    form.hidden = false;
    note.textContent = refused ? "That key was not accepted." : "";
    field.focus();
    form.onsubmit = (event) => {
      event.preventDefault();
      key = field.value.trim();
      sessionStorage.setItem("leo-key", key); // for this tab only
      form.hidden = true;
      given = null;
      resolve();
    };
  });
  return given;
}
