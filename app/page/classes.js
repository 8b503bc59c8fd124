// The classes of step 1, one card each, in the order shown; and one more card for what is none of them.

import { Card } from "./card.js";
import { byId } from "./dom.js";
import { showError } from "./messages.js";
import { offerUndo } from "./undo.js";

const LETTERS = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"];
const FIRST = LETTERS.slice(0, 5); // the names of the cards that a visitor finds
const OTHERS = "things that are none of these"; // the name of the last card
const GONE = "The server has deleted it already, and this browser never had its picture.";

let cards = [];
let negatives; // the card of what is none of the classes
let callbacks; // those of Card, `follow(change, examples)` and `canReturn(example)`

/** `follow(change, examples)` makes a change that the task takes over; `canReturn` says whether one can be undone. */
export function setUpClasses(given) {
  callbacks = { ...given, removed: removeCard, exampleRemoved: removeExample };
  showClasses([], []);
  byId("none").addEventListener("toggle", () => byId("none").open && openNegatives());
}

export const negativesCard = () => negatives;

/** Show the card of what is none of the classes, which few need. */
export function openNegatives() {
  byId("none").open = true;
  if (!isOpened()) byId("negatives").append(negatives.element);
}

const isOpened = () => negatives.element.isConnected;

/** Show the card if there is something on it, unless the visitor has closed it since. */
const showUsedNegatives = () => negatives.empty || isOpened() || openNegatives();

function showNegatives(record, examples) {
  if (!record || record.id !== negatives?.id) {
    negatives?.element.remove();
    negatives = makeCard({ ...record, name: OTHERS });
    byId("none").open = false;
  }
  negatives.show({ position: negatives.position, ...record, name: OTHERS }, examplesOf(negatives, examples));
  showUsedNegatives();
}

/** Show these records of classes and examples; without classes, the empty cards that a visitor finds. */
export function showClasses(classes, examples) {
  const known = new Map(cards.map((card) => [card.id, card]));
  const own = classes.filter((each) => !each.negatives);
  const records = own.length ? own : FIRST.map((name) => ({ name, drawing: null }));
  const next = records.map((record) => {
    const card = known.get(record.id) ?? makeCard(record);
    known.delete(record.id);
    card.show({ position: card.position, ...record }, examplesOf(card, examples));
    return card;
  });
  known.forEach((card) => card.element.remove());
  cards = next;
  arrange();
  showNegatives(classes.find((each) => each.negatives), examples);
}

const examplesOf = ({ id }, examples) =>
  examples.filter((each) => each.class === id).sort((one, other) => one.position - other.position);

export const everyCard = () => [...cards, negatives];

/** The records of what is shown, and whether nobody has made anything of it yet. */
export function classRecords(classifier) {
  const classes = everyCard().map((card) => ({ ...card.record(), negatives: card === negatives, classifier }));
  const examples = everyCard().flatMap((card) => card.examples.map((each) => ({ ...each, class: card.id, classifier })));
  const blank = negatives.empty && cards.every((card) => card.empty && isSpare(card));
  return { classes, examples, blank };
}

const isSpare = (card) => LETTERS.includes(card.name);

const makeCard = (record) => new Card(record, callbacks);

/** Put the cards in the order of their positions, moving none that stands right, so that none loses the focus. */
function arrange() {
  cards.sort((one, other) => one.position - other.position);
  cards.forEach((card, index) => {
    const there = byId("cards").children[index];
    if (there !== card.element) byId("cards").insertBefore(card.element, there);
  });
}

export function addCard(name) {
  const card = makeCard({ name });
  cards.push(card);
  arrange();
  return card;
}

export function addClass() {
  const taken = new Set(cards.map((card) => card.name));
  addCard(LETTERS.find((letter) => !taken.has(letter)) ?? `class ${cards.length + 1}`).field.select();
  callbacks.changed();
}

function removeCard(card) {
  const index = cards.indexOf(card);
  const remove = () => {
    cards.splice(index, 1);
    card.element.remove();
    callbacks.changed();
  };
  callbacks.follow(remove, card.all());
  const neighbour = cards[Math.min(index, cards.length - 1)];
  (neighbour?.field ?? byId("add")).focus();
  if (card.empty && isSpare(card)) return;
  offerUndo(`Removed ${card.name || "a class"}`, () => {
    const lost = card.all().filter((each) => !callbacks.canReturn(each));
    if (lost.length) showError(GONE);
    for (const each of lost) card.take(each);
    callbacks.follow(() => bringBack(card), card.all());
  });
}

/** Show a card again, which may have been removed. */
function bringBack(card) {
  if (!everyCard().some(({ id }) => id === card.id)) cards.push(card);
  arrange();
  callbacks.changed();
}

function putBack(card, example) {
  bringBack(card);
  everyCard().find(({ id }) => id === card.id).add([example]);
}

/** Move an example to another class, which can be undone. */
export function moveExample(from, example, to) {
  const move = () => {
    from.take(example);
    to.add([example]);
  };
  callbacks.follow(move, []);
  const moveBack = () => {
    to.take(example);
    putBack(from, example);
  };
  offerUndo(`Moved an example from ${from.name} to ${to.name}`, () => callbacks.follow(moveBack, []));
}

/** Remove an example, which can be undone. */
export function removeExample(card, example) {
  callbacks.follow(() => card.take(example), [example]);
  offerUndo(`Removed an example of ${card.name}`, () => {
    if (!callbacks.canReturn(example)) return showError(GONE);
    callbacks.follow(() => putBack(card, example), [example]);
  });
}

/** The card of this name. If there is none: a spare one, which is given the name, or a new one. */
export function cardNamed(name) {
  const found = cards.find((card) => card.name === name.trim().normalize("NFC"));
  if (found) return found;
  const spare = cards.find((card) => card.empty && isSpare(card));
  if (!spare) return addCard(name);
  spare.field.value = name;
  return spare;
}

/** The card of the class with this label; null is that of what is none of the classes. */
export function cardFor(label) {
  if (label !== null) return cardNamed(label);
  openNegatives();
  return negatives;
}

/** Remove the cards that nobody has used, except for some. */
export function dropSpares(kept) {
  for (const card of cards) if (card.empty && isSpare(card) && !kept.has(card)) card.element.remove();
  cards = cards.filter((card) => card.element.isConnected);
}

export const allCards = () => cards;

export const cardOf = (element) =>
  byId("none").contains(element) ? negatives : cards.find((card) => card.element.contains(element));

/** Each example with its card and label, class by class; last what is none of them, with null for a label. */
export const everyExample = () =>
  everyCard().flatMap((card) => card.all().map((example) => ({ example, card, label: card === negatives ? null : card.name })));

/** The same without what is none of the classes. */
export const allExamples = () => everyExample().filter(({ label }) => label !== null);

export const countDrawn = () => cards.filter((card) => !card.empty || card.held).length;

/** Whether the cards can make a task. If only names are wrong, say so. */
export function checkClasses() {
  const drawn = cards.filter((card) => !card.empty || card.held);
  if (drawn.length < 2) return false;
  const refuse = (text, element) => {
    showError(text);
    element?.focus();
    return false;
  };
  const unnamed = drawn.find((card) => !card.name);
  if (unnamed) return refuse("One class has no name yet. Give it one.", unnamed.field);
  const repeated = drawn.find((card, i) => drawn.slice(0, i).some((earlier) => earlier.name === card.name));
  if (repeated) return refuse(`Two classes are called ${repeated.name}. Rename one of them.`, repeated.field);
  return true;
}

export const redrawClasses = () => everyCard().forEach((card) => card.redraw());

export const unflagClasses = () => everyCard().forEach((card) => card.unflag());
