// The card of one class: its name, a pad to draw on, and the examples so far.

import { byId, listItem, makeCanvas } from "./dom.js";
import { encodePicture, encodeStrokes, paintPicture, paintStrokes } from "./drawing.js";
import { onFilesChosen, readPicture, showUnreadable } from "./files.js";
import { Pad } from "./pad.js";

const THUMB_SIDE = 88; // pixels

export class Card {
  /** Calls `onchange()` after every change of the name or the examples, `onremove(card)` to have the card removed. */
  constructor(name, onchange, onremove) {
    this.element = byId("card-template").content.firstElementChild.cloneNode(true);
    const find = (selector) => this.element.querySelector(selector);
    this.field = find(".name");
    this.field.value = name;
    this.pad = new Pad(find(".pad"), () => this.#changed());
    this.examples = []; // {strokes} or {picture}, without the drawing on the pad
    this.thumbs = find(".thumbs");
    this.onchange = onchange;
    this.field.addEventListener("input", () => this.#changed());
    find(".undo").addEventListener("click", () => this.#undo());
    find(".another").addEventListener("click", () => this.keep());
    find(".remove").addEventListener("click", () => onremove(this));
    onFilesChosen(find("input[type=file]"), (files) => this.addFiles(files));
    this.#setLabels();
  }

  get name() {
    return this.field.value.trim();
  }

  get empty() {
    return this.examples.length === 0 && this.pad.empty;
  }

  /** The examples as PNG files in base64: those kept, then the drawing on the pad. */
  images() {
    const encode = ({ picture, strokes }) => (picture ? encodePicture(picture) : encodeStrokes(strokes));
    const kept = this.examples.map(encode);
    return this.pad.empty ? kept : [...kept, this.pad.encoded()];
  }

  /** Move the drawing on the pad to the examples. */
  keep() {
    if (!this.pad.empty) {
      this.#add({ strokes: this.pad.strokes });
      this.pad.clear();
    }
    this.pad.canvas.focus({ preventScroll: true });
  }

  /** Add picture files as examples. */
  async addFiles(files) {
    let unreadable = false;
    for (const file of files) {
      const picture = await readPicture(file);
      if (picture) this.#add({ picture });
      else unreadable = true;
    }
    this.#changed();
    if (unreadable) showUnreadable(); // after the change, which clears the error
  }

  /** Mark the example at `index` of `images()` as worth a look; `text` is its tooltip. */
  flag(index, text) {
    const flagged = this.thumbs.children[index] ?? this.pad.element;
    flagged.classList.add("flagged");
    flagged.title = text;
  }

  unflag() {
    for (const flagged of this.element.querySelectorAll(".flagged")) {
      flagged.classList.remove("flagged");
      flagged.removeAttribute("title");
    }
  }

  redraw() {
    this.pad.draw();
    this.#showThumbs();
  }

  #undo() {
    if (!this.pad.empty) return this.pad.undo();
    const last = this.examples.pop();
    if (last?.strokes) this.pad.set(last.strokes);
    else if (last) this.#changed();
    this.#showThumbs();
  }

  #add(example) {
    this.examples.push(example);
    this.#showThumbs();
  }

  #showThumbs() {
    this.thumbs.replaceChildren(...this.examples.map((example, index) => this.#thumb(example, index)));
  }

  /** A small picture of the example, which is a button that removes it. */
  #thumb({ picture, strokes }, index) {
    const canvas = makeCanvas(THUMB_SIDE, THUMB_SIDE);
    const context = canvas.getContext("2d");
    if (picture) paintPicture(context, picture, THUMB_SIDE);
    else paintStrokes(context, strokes, THUMB_SIDE, getComputedStyle(this.pad.canvas).color);
    const button = Object.assign(document.createElement("button"), { type: "button", title: "Remove this example" });
    button.setAttribute("aria-label", `Remove example ${index + 1} of ${this.name || "this class"}`);
    button.append(canvas);
    button.addEventListener("click", () => {
      this.examples.splice(index, 1);
      this.#showThumbs();
      this.#changed();
    });
    const item = listItem();
    item.append(button);
    return item;
  }

  #changed() {
    this.#setLabels();
    this.onchange();
  }

  #setLabels() {
    const name = this.name || "this class";
    const labels = {
      ".name": "Name of the class",
      canvas: `Draw ${name}`,
      ".undo": `Undo in ${name}`,
      ".another": `Keep this drawing of ${name} and draw another`,
      ".remove": `Remove ${name}`,
      "input[type=file]": `Add pictures of ${name}`,
      ".thumbs": `Examples kept of ${name}`,
    };
    for (const [selector, label] of Object.entries(labels)) {
      this.element.querySelector(selector).setAttribute("aria-label", label);
    }
  }
}
