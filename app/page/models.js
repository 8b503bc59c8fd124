// The choice of a model, offered where the server has models for drawings and for photos.

import { byId } from "./dom.js";

const photoModels = new Set(); // their names

export const takesPhotos = (model) => photoModels.has(model);

/** The name of the chosen model, or null to let the server choose by what the pictures look like. */
export const chosenModel = () => byId("kind").value || null;

/** Choose the model of this name; "" lets the server choose. */
export function chooseModel(name) {
  byId("kind").value = name;
  if (byId("kind").selectedIndex < 0) byId("kind").value = ""; // this server has no such model
}

export async function offerModels() {
  const models = Object.entries(await (await fetch("page/models.json")).json());
  for (const [name, kind] of models) if (kind === "photos") photoModels.add(name);
  if (photoModels.size === 0 || photoModels.size === models.length) return;
  for (const [name, kind] of models) byId("kind").add(new Option(`${kind} (model ${name})`, name));
  document.body.classList.add("photos");
}
