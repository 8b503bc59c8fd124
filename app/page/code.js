// The panel "Use it from your code": a tab for each language and a button to copy.

import { byId, copyFrom, onClick, setText } from "./dom.js";
import { keptUntil, lifetimeChoice, takeawayChoices } from "./keeping.js";
import { currentKey } from "./key.js";
import { rejection } from "./verdict.js";

// Code that asks a task, one function for each language. `server` is a URL that ends with a slash; `withKey` adds the
// key from the environment.
const SNIPPETS = { curl, python };
const LANGUAGES = Object.keys(SNIPPETS);

let task = null;
let language = LANGUAGES[0];

export function setUpCode() {
  for (const each of LANGUAGES) {
    const tab = byId(`tab-${each}`);
    tab.addEventListener("click", () => chooseLanguage(each));
    tab.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      chooseLanguage(LANGUAGES.find((other) => other !== language)); // of two, either arrow means the other
      byId(`tab-${language}`).focus();
    });
  }
  onClick("copy", () => copyFrom(byId("snippet"), byId("copy")));
}

/** `changed(task)` is called when the visitor has the server keep it longer. */
export function showCode(created, changed) {
  task = created;
  byId("use").hidden = false;
  const kept = keptUntil(task);
  setText("lasts", `It is ${kept}.`);
  const failed = (text) => setText("use-note", text);
  failed("");
  byId("takeaway").replaceChildren(...takeawayChoices(task, failed), lifetimeChoice(task, changed, failed));
  refreshCode();
}

/** Write the snippet again, as after a change of what is rejected. */
export function refreshCode() {
  if (!task) return;
  const server = new URL(".", document.baseURI).href;
  setText("snippet", SNIPPETS[language](server, task.task_id, rejection(), currentKey() !== ""));
}

function chooseLanguage(chosen) {
  language = chosen;
  for (const each of LANGUAGES) {
    const tab = byId(`tab-${each}`);
    tab.setAttribute("aria-selected", each === chosen);
    tab.tabIndex = each === chosen ? 0 : -1;
  }
  byId("snippet").setAttribute("aria-labelledby", `tab-${chosen}`);
  refreshCode();
}

function curl(server, task, reject, withKey) {
  const key = withKey ? '-H "Authorization: Bearer $LEO_API_KEY" ' : "";
  return `curl ${key}-F images=@picture.png "${server}tasks/${task}/predict?reject=${reject}"`;
}

function python(server, task, reject, withKey) {
  const key = withKey ? '\n    headers={"Authorization": f"Bearer {os.environ[\'LEO_API_KEY\']}"},' : "";
  return `${withKey ? "import os\n\n" : ""}import httpx  # pip install httpx

answer = httpx.post(
    "${server}tasks/${task}/predict",
    params={"reject": ${reject}},
    files=[("images", open("picture.png", "rb"))],${key}
)
answer.raise_for_status()
for prediction in answer.json()["predictions"]:
    print("none of these" if prediction["unknown"] else prediction["label"], prediction["confidence"])`;
}
