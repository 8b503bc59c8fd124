// The page: cards teach, `create` makes a task of them, the large pad asks it.

import { Refused, call, needsKey } from "./api.js";
import { Card } from "./card.js";
import { showLosses, number } from "./chart.js";
import { SIGNS, byHand } from "./examples.js";
import { Live } from "./live.js";
import { Pad } from "./pad.js";
import * as snippets from "./snippets.js";

const $ = (id) => document.getElementById(id);
const LIFETIME = 24 * 3600; // seconds a task made here lives
const QUIET = matchMedia("(prefers-reduced-motion: reduce)");

let cards = [];
let task = null; // as the server described it
let changed = false; // since the task was made
let answer = null; // the latest prediction shown
let busy = false; // a task is being made
let show = 0; // counts demonstrations, so that touching anything ends one

// -- teaching --------------------------------------------------------------------------------

function addCard(name) {
  const card = new Card(name, edited, removeCard);
  card.element.addEventListener("unreadable", () => complain("That file is not a picture this browser can read."));
  takesFiles(card.element, (files) => card.take(files));
  cards.push(card);
  $("add").parentElement.before(card.element);
  return card;
}

function removeCard(card) {
  const at = cards.indexOf(card);
  cards.splice(at, 1);
  card.element.remove();
  (cards[Math.min(at, cards.length - 1)]?.field ?? $("add")).focus();
  edited();
}

function startWith(names) {
  cards.forEach((card) => card.element.remove());
  cards = [];
  names.forEach(addCard);
}

function nextName() {
  const taken = new Set(cards.map((card) => card.name));
  const letters = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"];
  return letters.find((letter) => !taken.has(letter)) ?? `class ${cards.length + 1}`;
}

function edited() {
  show += 1;
  $("error").textContent = "";
  if ((task || busy) && !changed) {
    changed = true; // also while a task is being made: it will not know of this
    forgetFlags();
  }
  const drawn = cards.filter((card) => !card.empty).length;
  $("create").textContent = changed ? "Create it again" : "Create classifier";
  if (changed) say("Changed since: create it again to use the new examples.");
  else if (!task) say(drawn === 0 ? "" : drawn === 1 ? "One class has a drawing; two are the least." : `${drawn} classes are ready.`);
}

/** The cards that have examples, or null after saying what is missing. */
function ready() {
  const used = cards.filter((card) => !card.empty);
  const lacking = (text, card) => {
    complain(text);
    card?.focus();
    return null;
  };
  if (used.length < 2) {
    const blank = cards.find((card) => card.empty);
    return lacking("Draw a sign in at least two boxes first.", blank?.pad.canvas);
  }
  const nameless = used.find((card) => !card.name);
  if (nameless) return lacking("One class has no name yet.", nameless.field);
  const twice = used.find((card, i) => used.findIndex((other) => other.name === card.name) !== i);
  if (twice) return lacking(`Two classes are called ${twice.name}; give one another name.`, twice.field);
  return used;
}

async function create() {
  const used = busy ? null : ready();
  if (!used) return;
  busy = true;
  $("error").textContent = "";
  $("create").setAttribute("aria-busy", "true");
  const owners = []; // of each support image: its card, and which example of the card it is
  try {
    const support = [];
    for (const card of used) {
      for (const [index, image] of card.images().entries()) {
        support.push({ image, label: card.name });
        owners.push([card, index]);
      }
    }
    changed = false;
    const model = $("kind").value || null; // null: the server looks at the pictures
    created(await call("POST", "tasks", { support, model, name: "playground", ttl_seconds: LIFETIME }), owners);
  } catch (error) {
    changed = task !== null; // without a task there is nothing to be different from
    complain(error.message);
    if (error instanceof Refused && error.index !== null && owners[error.index]) {
      const [card, index] = owners[error.index];
      card.flag(index, error.message);
    }
  } finally {
    busy = false;
    $("create").removeAttribute("aria-busy");
  }
}

function created(made, owners) {
  task = made;
  const { losses, support_accuracy: right, milliseconds } = made.adaptation;
  $("create").textContent = changed ? "Create it again" : "Create classifier";
  const next = photoModels.has(made.model) ? "Now show it another photo." : "Now draw one of them again.";
  if (!changed) say(`Ready: ${made.labels.length} classes. ${next}`);
  document.body.classList.add("taught");
  $("ask-hint").textContent = next.replace(/^Now (.)/, (_, first) => first.toUpperCase());
  $("learned").textContent = learned(losses, right, milliseconds);
  $("inside").hidden = $("use").hidden = false;
  $("chart").hidden = number(losses[0]) === number(losses.at(-1)); // a level line would show nothing
  showLosses($("chart"), losses);
  $("lasts").textContent = made.expires_at ? `It lasts until ${new Date(made.expires_at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" })}.` : "";
  makeBars(made.labels);
  showSnippet();
  showQuality(made.quality, owners);
  live.changed();
  const narrow = matchMedia("(max-width: 60rem)").matches;
  if (narrow) $("ask").scrollIntoView({ behavior: QUIET.matches ? "auto" : "smooth" });
}

function learned(losses, right, milliseconds) {
  const [before, after] = [number(losses[0]), number(losses.at(-1))];
  const steps = losses.length - 1;
  const took = `${milliseconds.toFixed(0)} ms`;
  const rights = `It gets ${Math.round(100 * right)} % of your examples right.`;
  if (before === after)
    return `Your examples are easy to tell apart: the first guess, in ${took}, left the ${steps} steps nothing to do.`;
  if (losses.at(-1) > losses[0])
    return `Your examples contradict each other: ${steps} steps could not lower the loss, ${before}, and left it at ${after}. ${rights}`;
  return `${steps} steps on one code for each class took the loss from ${before} to ${after}, in ${took}. ${rights}`;
}

// -- which model ------------------------------------------------------------------------------

const photoModels = new Set(); // their names

/** Offer a choice where there are models for drawings and for photos. */
async function offerModels() {
  const kinds = Object.entries(await (await fetch("page/models.json")).json());
  for (const [name, kind] of kinds) if (kind === "photos") photoModels.add(name);
  if (photoModels.size === 0 || photoModels.size === kinds.length) return;
  for (const [name, kind] of kinds) $("kind").add(new Option(`${kind} (${name})`, name));
  document.body.classList.add("photos");
}

// -- what the examples say of themselves ------------------------------------------------------

function forgetFlags() {
  cards.forEach((card) => card.unflag());
  $("quality").hidden = true;
}

function showQuality(quality, owners) {
  forgetFlags();
  const lines = [];
  const name = ([card, index]) => `${card.name}, example ${index + 1}`;
  const mark = (index, text) => owners[index] && owners[index][0].flag(owners[index][1], text);
  for (const { index, looks_like: other } of quality?.suspects ?? []) {
    lines.push(`${name(owners[index])} looks more like ${other}. Is its label right?`);
    mark(index, `looks like ${other}`);
  }
  for (const { first, second } of quality?.near_duplicates ?? []) {
    lines.push(`${name(owners[first])} and ${name(owners[second])} are almost the same picture in two classes.`);
    mark(first, `almost the same as ${name(owners[second])}`);
    mark(second, `almost the same as ${name(owners[first])}`);
  }
  $("quality").hidden = lines.length === 0;
  $("quality").querySelector("ul").replaceChildren(...lines.map((line) => item(line)));
}

// -- asking ----------------------------------------------------------------------------------

const asked = new Pad($("ask-pad"), (time) => live.changed(time));
const live = new Live(ask, showAnswer, (error) => complain(error.message));

async function ask() {
  if (!task || asked.empty) return null;
  const { task_id: id, labels } = task;
  const said = await call("POST", `tasks/${id}/predict?top_k=${labels.length}`, { images: [asked.encoded()] });
  return task?.task_id === id ? said.predictions[0] : null;
}

function makeBars(labels) {
  $("bars").replaceChildren(
    ...labels.map((label) => {
      const row = item("");
      row.dataset.label = label;
      const track = part("track");
      track.append(part("fill"));
      row.append(part("label", label), track, part("share"));
      return row;
    }),
  );
  $("bars").tabIndex = labels.length > 8 ? 0 : -1; // long lists scroll, which the keyboard must reach
  showAnswer(null);
}

function showAnswer(given) {
  answer = asked.empty ? null : given;
  const shares = new Map(answer?.top_k.map((score) => [score.label, score.confidence]));
  const threshold = $("threshold").value / 100;
  const unknown = answer !== null && answer.confidence < threshold;
  for (const row of $("bars").children) {
    const share = shares.get(row.dataset.label) ?? 0;
    row.querySelector(".fill").style.transform = `scaleX(${share})`;
    row.querySelector(".share").textContent = answer === null ? "" : percent(share);
    row.classList.toggle("best", !unknown && answer?.label === row.dataset.label);
  }
  const verdict = $("verdict");
  verdict.classList.toggle("unknown", unknown);
  verdict.querySelector(".label").textContent = answer === null ? "\u00a0" : unknown ? "None of these" : answer.label;
  const share = answer && percent(answer.confidence);
  verdict.querySelector(".share").textContent = answer === null ? "" : unknown ? `${answer.label} ${share}` : share;
  speak(answer === null ? "" : unknown ? `None of these; the closest is ${answer.label}, ${share}` : `${answer.label}, ${share}`);
}

let speaking;

/** For screen readers, once the hand has come to rest. */
function speak(text) {
  clearTimeout(speaking);
  speaking = setTimeout(() => ($("spoken").textContent = text), 700);
}

const percent = (share) => `${Math.round(100 * share)} %`;

function moveThreshold() {
  const value = $("threshold").value;
  $("threshold-value").textContent = `${value} %`;
  $("bars").style.setProperty("--threshold", `${value}%`);
  showAnswer(answer);
  showSnippet();
}

async function askPicture(files) {
  const picture = await createImageBitmap(files[0]).catch(() => null);
  if (picture) asked.setPicture(picture);
  else complain("That file is not a picture this browser can read.");
}

// -- an example in one click -------------------------------------------------------------------

async function example() {
  const names = Object.keys(SIGNS);
  startWith(names);
  cards.forEach((card, i) => {
    card.pad.set(byHand(SIGNS[names[i]], i + 1));
  });
  asked.clear();
  edited();
  await create();
  if (task && !changed) await demonstrate(byHand(SIGNS.clock, 77));
}

/** Draw on the large pad as a hand would, until somebody touches anything. */
async function demonstrate(strokes) {
  const mine = ++show;
  asked.clear();
  for (const stroke of strokes) {
    for (const [i, point] of stroke.entries()) {
      if (show !== mine) return;
      asked.add(point, i === 0, performance.now());
      if (!QUIET.matches) await new Promise((resolve) => setTimeout(resolve, 18));
    }
  }
}

// -- code ------------------------------------------------------------------------------------

let language = "curl";

function showSnippet() {
  if (!task) return;
  const server = new URL(".", document.baseURI).href;
  $("snippet").textContent = snippets[language](server, task.task_id, $("threshold").value / 100, needsKey());
}

function chooseLanguage(chosen) {
  language = chosen;
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const on = tab.id === `tab-${chosen}`;
    tab.setAttribute("aria-selected", on);
    tab.tabIndex = on ? 0 : -1;
  }
  $("snippet").setAttribute("aria-labelledby", `tab-${chosen}`);
  showSnippet();
}

async function copy() {
  try {
    await navigator.clipboard.writeText($("snippet").textContent);
    $("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren($("snippet")); // without https there is no clipboard
    $("copy").textContent = "Selected: copy it";
  }
  setTimeout(() => ($("copy").textContent = "Copy"), 2000);
}

// -- the page around it ------------------------------------------------------------------------

function say(text) {
  $("status").textContent = text;
}

function complain(text) {
  $("error").textContent = text;
}

function item(text) {
  return Object.assign(document.createElement("li"), { textContent: text });
}

function part(name, text = "") {
  return Object.assign(document.createElement("span"), { className: name, textContent: text });
}

function takesFiles(element, take) {
  element.addEventListener("dragover", (event) => {
    event.preventDefault();
    element.classList.add("dropping");
  });
  element.addEventListener("dragleave", () => element.classList.remove("dropping"));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    element.classList.remove("dropping");
    if (event.dataTransfer.files.length) take(event.dataTransfer.files);
  });
}

function paste(event) {
  const files = [...(event.clipboardData?.files ?? [])];
  if (!files.length) return;
  event.preventDefault();
  const card = cards.find((each) => each.element.contains(document.activeElement));
  if (card) card.take(files);
  else askPicture(files);
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  redraw();
}

function switchTheme() {
  const dark = getComputedStyle(document.documentElement).colorScheme.includes("light dark")
    ? matchMedia("(prefers-color-scheme: dark)").matches
    : document.documentElement.dataset.theme === "dark";
  const theme = dark ? "light" : "dark";
  localStorage.setItem("leo-theme", theme);
  setTheme(theme);
}

function redraw() {
  cards.forEach((card) => card.redraw());
  asked.draw();
}

startWith(["A", "B", "C", "D", "E"]);
if (localStorage.getItem("leo-theme")) setTheme(localStorage.getItem("leo-theme"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
takesFiles($("ask"), askPicture);
moveThreshold();
offerModels().catch(() => {}); // the server, if it is there, chooses as well

const clicks = {
  create,
  example,
  theme: switchTheme,
  copy,
  add: () => addCard(nextName()).field.select(),
  "start-over": () => location.reload(),
  "tab-curl": () => chooseLanguage("curl"),
  "tab-python": () => chooseLanguage("python"),
};
for (const [id, act] of Object.entries(clicks)) $(id).addEventListener("click", act);
$("ask").querySelector(".undo").addEventListener("click", () => asked.undo());
$("ask").querySelector(".clear").addEventListener("click", () => asked.clear());
$("ask").querySelector("input[type=file]").addEventListener("change", (event) => {
  askPicture(event.target.files);
  event.target.value = "";
});
$("ask").addEventListener("pointerdown", () => (show += 1));
$("threshold").addEventListener("input", moveThreshold);
document.addEventListener("paste", paste);
for (const tab of document.querySelectorAll("[role=tab]")) {
  tab.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    chooseLanguage(language === "curl" ? "python" : "curl");
    $(`tab-${language}`).focus();
  });
}
