// The classes of step 1, one card each, in the order shown.

import { Card } from "./card.js";
import { byId } from "./dom.js";
import { onFilesDropped } from "./files.js";
import { showError } from "./messages.js";

const LETTERS = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"];

let cards = [];
let onEdit; // called after every change of a name or an example

export function setUpClasses(names, edited) {
  onEdit = edited;
  replaceClasses(names);
}

/** Remove all cards and return new, empty ones with these names. */
export function replaceClasses(names) {
  cards.forEach((card) => card.element.remove());
  cards = [];
  names.forEach(addCard);
  return cards;
}

export function addClass() {
  const taken = new Set(cards.map((card) => card.name));
  const name = LETTERS.find((letter) => !taken.has(letter)) ?? `class ${cards.length + 1}`;
  addCard(name).field.select();
}

function addCard(name) {
  const card = new Card(name, onEdit, removeCard);
  onFilesDropped(card.element, (files) => card.addFiles(files));
  cards.push(card);
  byId("add").parentElement.before(card.element);
  return card;
}

function removeCard(card) {
  const index = cards.indexOf(card);
  cards.splice(index, 1);
  card.element.remove();
  const neighbour = cards[Math.min(index, cards.length - 1)];
  (neighbour?.field ?? byId("add")).focus();
  onEdit();
}

/** The card that has the keyboard focus, if one has. */
export const focusedCard = () => cards.find((card) => card.element.contains(document.activeElement));

export const countDrawn = () => cards.filter((card) => !card.empty).length;

/** The cards that have examples. If they cannot make a task, null after showing why. */
export function checkedCards() {
  const drawn = cards.filter((card) => !card.empty);
  const refuse = (text, element) => {
    showError(text);
    element?.focus();
    return null;
  };
  if (drawn.length < 2) {
    const blank = cards.find((card) => card.empty);
    return refuse("Draw a sign in at least two boxes first.", blank?.pad.canvas);
  }
  const unnamed = drawn.find((card) => !card.name);
  if (unnamed) return refuse("One class has no name yet.", unnamed.field);
  const repeated = drawn.find((card, i) => drawn.slice(0, i).some((earlier) => earlier.name === card.name));
  if (repeated) return refuse(`Two classes are called ${repeated.name}. Rename one of them.`, repeated.field);
  return drawn;
}

export const redrawClasses = () => cards.forEach((card) => card.redraw());

export const unflagClasses = () => cards.forEach((card) => card.unflag());
