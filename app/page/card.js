// The card of one class: its name, a pad to draw on, and the examples so far.

import { cameraOffered, openCamera } from "./camera.js";
import { byId, make, makeCanvas, newId, plural } from "./dom.js";
import { nextPosition, paint } from "./example.js";
import { onFilesChosen } from "./files.js";
import { Pad } from "./pad.js";

const THUMB_SIDE = 88; // pixels

export class Card {
  /**
   * Calls `changed()` after every change of the name or the examples, `removed(card)` and
   * `exampleRemoved(card, example)` to have the card or an example removed, `found(card, files)` with files chosen,
   * `opened(card, example)` to have an example shown large.
   */
  constructor({ id = newId(), position = nextPosition(), name = "" }, callbacks) {
    this.id = id;
    this.position = position;
    this.element = byId("card-template").content.firstElementChild.cloneNode(true);
    const find = (selector) => this.element.querySelector(selector);
    this.field = find(".name");
    this.field.value = name;
    this.pad = new Pad(find(".pad"), () => this.#drawn());
    this.drawing = null; // {id, position} of what is on the pad
    this.examples = []; // without the drawing on the pad
    this.wantsPad = false; // whether a class of photos shows its pad all the same
    this.held = 0; // examples that the server has and does not list
    this.thumbs = find(".thumbs");
    this.items = new Map(); // the thumbnails by their examples' ids
    this.flags = new Map(); // {text, isLasting} by the ids of the examples that are marked
    this.callbacks = callbacks;
    this.field.oninput = () => this.#changed();
    find(".undo").onclick = () => this.#undo();
    find(".another").onclick = () => this.keep();
    find(".remove").onclick = () => callbacks.removed(this);
    find(".camera").hidden = !cameraOffered();
    find(".camera").onclick = () => openCamera(this);
    onFilesChosen(find("input[type=file]"), (found) => callbacks.found(this, found));
    this.#setLabels();
  }

  get name() {
    return this.field.value.trim().normalize("NFC");
  }

  get empty() {
    return this.examples.length === 0 && this.pad.empty;
  }

  /** The examples kept, then the drawing on the pad. */
  all() {
    return this.drawing ? [...this.examples, { ...this.drawing, strokes: this.pad.strokes }] : this.examples;
  }

  /** What is kept of the class in the browser, without the examples that are records of their own. */
  record() {
    const { id, position, name, drawing } = this;
    return { id, position, name, drawing: drawing && { ...drawing, strokes: this.pad.strokes } };
  }

  /** Show what was kept. */
  show({ position, name, drawing }, examples) {
    this.position = position;
    if (this.name !== name) this.field.value = name;
    if (!this.pad.drawing) {
      this.drawing = drawing && { id: drawing.id, position: drawing.position };
      this.pad.show(drawing?.strokes ?? []);
    }
    this.examples = examples;
    this.#showThumbs();
    this.#setLabels();
  }

  /** Move the drawing on the pad to the examples. */
  keep() {
    if (!this.pad.empty) {
      const example = this.all().at(-1);
      this.pad.set([]);
      this.add([example]);
    }
    this.wantsPad = true;
    this.#showPad();
    this.pad.canvas.focus({ preventScroll: true });
  }

  add(examples) {
    this.examples = [...this.examples, ...examples].sort((one, other) => one.position - other.position);
    this.#showThumbs();
    this.#changed();
  }

  /** Take an example away, which may be the drawing on the pad. */
  take(example) {
    if (example.id === this.drawing?.id) return this.pad.clear();
    this.examples = this.examples.filter(({ id }) => id !== example.id);
    this.#showThumbs();
    this.#changed();
  }

  rename(name) {
    this.field.value = name;
    this.#showThumbs();
    this.#changed();
  }

  /** How many examples the server has and does not list: they can be neither seen nor changed here. */
  hold(count) {
    this.held = count;
    this.field.readOnly = count > 0;
    const held = this.element.querySelector(".held");
    held.hidden = count === 0;
    held.textContent = `${plural(count, "example")} on the server`;
    this.element.querySelector(".remove").hidden = count > 0;
  }

  /** Mark an example as worth a look; `text` is its tooltip. What `isLasting` stays marked however the task changes. */
  flag(id, text, isLasting = false) {
    this.flags.set(id, { text, isLasting });
    this.#showFlags();
  }

  unflag() {
    for (const [id, { isLasting }] of this.flags) if (!isLasting) this.flags.delete(id);
    this.#showFlags();
  }

  #showFlags() {
    for (const [id, shown] of [...this.items, [this.drawing?.id, this.pad.element]]) {
      const flag = this.flags.get(id);
      shown.classList.toggle("flagged", Boolean(flag));
      shown.title = flag?.text ?? "";
    }
  }

  redraw() {
    this.pad.draw();
    this.items.clear();
    this.#showThumbs();
  }

  #drawn() {
    // Another drawing is another example, as far as the server is concerned.
    this.drawing = this.pad.empty ? null : { id: newId(), position: nextPosition() };
    this.#changed();
  }

  #undo() {
    if (!this.pad.empty || this.pad.cleared) return this.pad.undo();
    const last = this.examples.at(-1);
    if (!last) return;
    if (!last.strokes) return this.callbacks.exampleRemoved(this, last);
    this.take(last);
    this.pad.show(last.strokes);
    this.drawing = { id: last.id, position: last.position }; // it is still the same example
    this.#changed();
  }

  /** Classes of photos need no pad, until somebody wants to draw. */
  #showPad() {
    const photos = this.examples.some(({ strokes, remote, drawn }) => !strokes && !(remote && drawn));
    const isPadHidden = photos && this.pad.empty && !this.wantsPad;
    this.element.classList.toggle("has-photos", isPadHidden);
    this.element.querySelector(".another span").textContent = isPadHidden ? "Draw" : "Another";
  }

  #showThumbs() {
    this.#showPad();
    const present = new Set(this.examples.map(({ id }) => id));
    for (const id of this.items.keys()) if (!present.has(id)) this.items.delete(id);
    this.examples.forEach((example, index) => {
      const item = this.items.get(example.id) ?? this.#thumb(example);
      const said = `Example ${index + 1} of ${this.name || "this class"}`;
      item.firstChild.ariaLabel = example.name ? `${said}: ${example.name}` : said;
      if (this.thumbs.children[index] !== item) this.thumbs.insertBefore(item, this.thumbs.children[index] ?? null);
    });
    while (this.thumbs.children.length > this.examples.length) this.thumbs.lastChild.remove();
    const count = this.examples.length;
    this.#showFlags();
    this.element.querySelector(".count").textContent = count > 3 ? plural(count, "example") : "";
  }

  /** A small picture of the example, which is a button that shows it large. */
  #thumb(example) {
    const canvas = makeCanvas(THUMB_SIDE, THUMB_SIDE);
    paint(canvas, example, getComputedStyle(this.pad.canvas).color);
    const onclick = () => this.callbacks.opened(this, example);
    const onkeydown = ({ key }) => /^(Delete|Backspace)$/.test(key) && this.callbacks.exampleRemoved(this, example);
    const item = make("li", {}, make("button", { title: "Look at this example", onclick, onkeydown }, canvas));
    this.items.set(example.id, item);
    return item;
  }

  #changed() {
    this.#setLabels();
    this.callbacks.changed();
  }

  #setLabels() {
    const name = this.name || "this class";
    const labels = {
      ".name": "Name of the class",
      canvas: `Draw ${name}`,
      ".undo": `Undo in ${name}`,
      ".camera": `Take photos of ${name}`,
      ".another": `Keep this drawing of ${name} and draw another`,
      ".remove": `Remove ${name}`,
      "input[type=file]": `Add pictures of ${name}`,
      ".thumbs": `Examples kept of ${name}`,
    };
    for (const [selector, label] of Object.entries(labels)) this.element.querySelector(selector).ariaLabel = label;
  }
}
