// The API key: the form that asks for it, its value until the browser closes, and what it may do.

import { byId, FOLDER, onClick, recall, remember, setText } from "./dom.js";

const REJECTED = "That key was not accepted.";
const GREETING = 150; // milliseconds that other tabs have to hand over the key

let key = recall("sessionStorage", "key");
let pending = null; // the promise of a key, shared by all calls that wait for one
let rights = ["read", "write"];
let needed = false; // whether this server asks for keys at all
let most = Infinity; // examples that a task may have
let onrights = () => {};
let accepted = () => {}; // ends the wait for a key
// A tab's own storage ends with the tab. So tabs tell each other the key, until the last of them is closed.
const tabs = "BroadcastChannel" in window ? new BroadcastChannel(`leo-key${FOLDER}`) : null;

/** The key as last entered; empty if the server never asked for one. */
export const currentKey = () => key;

export const keysNeeded = () => needed;

export const mostExamples = () => most;

export const mayWrite = () => rights.includes("write");

/** Find out whether this server asks for keys, and ask for one. `changed()` is called when the rights have changed. */
export async function setUpKey(changed) {
  onrights = changed;
  onClick("change-key", () => {
    askForKey(false);
    byId("key-cancel").hidden = key === "";
  });
  onClick("key-cancel", () => use(key, { rights }));
  tabs?.addEventListener("message", ({ data }) => {
    if (data.wanted && key) tabs.postMessage({ key });
    if (data.key && data.key !== key) readAccess(data.key).then((access) => use(data.key, access));
  });
  if (!key) tabs?.postMessage({ wanted: true });
  const access = await readAccess(key);
  needed = access.keys;
  most = access.most_examples ?? most;
  if (!needed) return;
  if (key && access.rights) return use(key, access);
  if (key) return askForKey(true);
  await new Promise((resolve) => setTimeout(resolve, GREETING)); // another tab may hand one over
  if (!key) await askForKey(false);
}

/** Whether the server asks for keys, and what this key may do: null for a key that it does not know. */
async function readAccess(presented) {
  const headers = presented ? { Authorization: `Bearer ${presented}` } : {};
  const response = await fetch("page/access.json", { headers }).catch(() => null);
  return response?.ok ? response.json() : { keys: needed, rights: ["read", "write"] }; // the next call will tell
}

/** Show the form and resolve once the visitor has entered a key. `rejected`: the server refused the last one. */
export function askForKey(rejected) {
  needed = true;
  byId("change-key").hidden = false;
  setText("key-note", rejected ? REJECTED : "");
  pending ??= new Promise((resolve) => {
    byId("key-form").hidden = false;
    byId("key-cancel").hidden = true;
    byId("key").value = "";
    byId("key").focus();
    byId("key-form").onsubmit = (event) => {
      event.preventDefault();
      accept(byId("key").value.trim());
    };
    accepted = resolve;
  });
  return pending;
}

async function accept(given) {
  const access = await readAccess(given);
  if (access.keys && !access.rights) {
    setText("key-note", REJECTED);
    return byId("key").select();
  }
  use(given, access);
  tabs?.postMessage({ key });
}

function use(given, access) {
  key = given;
  remember("sessionStorage", "key", key);
  byId("key-form").hidden = true;
  byId("change-key").hidden = false;
  pending = null;
  rights = access.rights ?? rights;
  onrights();
  accepted();
}
