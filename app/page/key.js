// The API key: the form that asks for it, and its value for this browser tab.

import { byId } from "./dom.js";

let key = sessionStorage.getItem("leo-key") ?? "";
let pending = null; // the promise of a key, shared by all calls that wait for one

/** The key as last entered; empty if the server never asked for one. */
export const currentKey = () => key;

/** Show the form and resolve once the visitor has entered a key. `rejected`: the server refused the last one. */
export function askForKey(rejected) {
  pending ??= new Promise((resolve) => {
    const form = byId("key-form");
    form.hidden = false;
    byId("key-note").textContent = rejected ? "That key was not accepted." : "";
    byId("key").focus();
    form.onsubmit = (event) => {
      event.preventDefault();
      key = byId("key").value.trim();
      sessionStorage.setItem("leo-key", key); // for this tab only
      form.hidden = true;
      pending = null;
      resolve();
    };
  });
  return pending;
}
