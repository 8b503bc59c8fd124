// One example shown large, with what can be done with it: delete it, move it to another class, look at the next.

import { allCards, everyCard, moveExample, negativesCard, removeExample } from "./classes.js";
import { byId, makeCanvas, onChosen, onClick, setText } from "./dom.js";
import { paint } from "./example.js";

const SIDE = 640; // pixels

let shown = null; // {card, example}

export function setUpViewer() {
  onClick("viewer-delete", () => leaving(() => removeExample(shown.card, shown.example)));
  onChosen(byId("viewer-move"), (wanted) => {
    const to = targets().find(({ id }) => id === wanted);
    if (to) leaving(() => moveExample(shown.card, shown.example, to));
  });
  onClick("viewer-before", () => step(-1));
  onClick("viewer-after", () => step(1));
  byId("viewer").addEventListener("keydown", (event) => {
    if (event.target.matches("select")) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
    if (event.key === "Delete") byId("viewer-delete").click();
  });
}

export function openViewer(card, example) {
  show(card, example);
  byId("viewer").showModal();
}

function show(card, example) {
  shown = { card, example };
  const index = indexOfShown();
  const canvas = makeCanvas(SIDE, SIDE);
  canvas.setAttribute("role", "img");
  canvas.ariaLabel = `Example ${index + 1} of ${card.name}`;
  byId("viewer-picture").replaceChildren(canvas);
  paint(canvas, example, getComputedStyle(byId("viewer")).color);
  setText("viewer-title", `Example ${index + 1} of ${card.examples.length}: ${card.name || "without a name"}`);
  setText("viewer-name", example.remote ? "Its picture is not in this browser, and the server does not keep it." : (example.name ?? ""));
  byId("viewer-move").replaceChildren(new Option("Move to…", ""));
  for (const other of targets()) byId("viewer-move").add(new Option(other.name || "Without a name", other.id));
  byId("viewer-before").disabled = index <= 0;
  byId("viewer-after").disabled = index >= card.examples.length - 1;
}

/** Where the shown example may be moved. To be none of the classes, or no longer so, it is sent, which takes a picture. */
function targets() {
  const { card: from, example } = shown;
  const cards = example.remote ? (from === negativesCard() ? [] : allCards()) : everyCard();
  return cards.filter((card) => card !== from);
}

const indexOfShown = () => shown.card.examples.findIndex(({ id }) => id === shown.example.id);

function step(by) {
  const next = shown.card.examples[indexOfShown() + by];
  if (next) show(shown.card, next);
}

/** Do something that takes the shown example away, and show the next one of its class, if there is one. */
function leaving(action) {
  const index = indexOfShown();
  const { card } = shown;
  if (index >= 0) action(); // else another tab was faster
  const next = card.examples[Math.min(index, card.examples.length - 1)];
  if (next) show(card, next);
  else byId("viewer").close();
}
