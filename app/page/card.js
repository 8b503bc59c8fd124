// One class: its name, a pad, and the examples it has so far.

import { Pad, contain, paint, encodePicture, encodeStrokes } from "./pad.js";

const template = document.getElementById("card-template");
const THUMB = 88; // pixels

export class Card {
  /** `onchange()` after every change of name or examples; `onremove(card)` when it is to go. */
  constructor(name, onchange, onremove) {
    this.element = template.content.firstElementChild.cloneNode(true);
    const find = (selector) => this.element.querySelector(selector);
    this.field = find(".name");
    this.field.value = name;
    this.pad = new Pad(find(".pad"), () => this.#changed());
    this.examples = []; // {strokes} or {picture}, kept beside what is on the pad
    this.thumbs = find(".thumbs");
    this.onchange = onchange;
    this.field.addEventListener("input", () => this.#changed());
    find(".undo").addEventListener("click", () => this.#undo());
    find(".another").addEventListener("click", () => this.keep());
    find(".remove").addEventListener("click", () => onremove(this));
    find("input[type=file]").addEventListener("change", (event) => {
      this.take(event.target.files);
      event.target.value = "";
    });
    this.#label();
  }

  get name() {
    return this.field.value.trim();
  }

  get empty() {
    return this.examples.length === 0 && this.pad.empty;
  }

  /** What the class is taught with, base64, in the order of its examples: the kept ones, then the pad's. */
  images() {
    const all = this.examples.map(({ picture, strokes }) => (picture ? encodePicture(picture) : encodeStrokes(strokes)));
    return this.pad.empty ? all : [...all, this.pad.encoded()];
  }

  /** Put the pad's drawing with the examples and clear the pad. */
  keep() {
    if (!this.pad.empty) {
      this.#add({ strokes: this.pad.strokes });
      this.pad.clear();
    }
    this.pad.canvas.focus({ preventScroll: true });
  }

  /** Add picture files as examples. Resolves to the number of files that are no pictures. */
  async take(files) {
    let unreadable = 0;
    for (const file of [...files]) { // a list of their own: the input, emptied, empties its own
      const picture = await createImageBitmap(file).catch(() => null);
      if (picture) this.#add({ picture });
      else unreadable += 1;
    }
    this.#changed();
    if (unreadable) this.element.dispatchEvent(new CustomEvent("unreadable", { bubbles: true }));
  }

  /** Mark example `index`, counted as in `images()`, as worth a look. */
  flag(index, text) {
    const thumb = this.thumbs.children[index];
    const marked = thumb ?? this.pad.element;
    marked.classList.add("flagged");
    marked.title = text;
  }

  unflag() {
    for (const marked of this.element.querySelectorAll(".flagged")) {
      marked.classList.remove("flagged");
      marked.removeAttribute("title");
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
    this.thumbs.replaceChildren(
      ...this.examples.map((example, index) => {
        const canvas = Object.assign(document.createElement("canvas"), { width: THUMB, height: THUMB });
        const remove = Object.assign(document.createElement("button"), { type: "button", title: "Remove this example" });
        remove.setAttribute("aria-label", `Remove example ${index + 1} of ${this.name || "this class"}`);
        remove.append(canvas);
        remove.addEventListener("click", () => {
          this.examples.splice(index, 1);
          this.#showThumbs();
          this.#changed();
        });
        const item = document.createElement("li");
        item.append(remove);
        const context = canvas.getContext("2d");
        if (example.picture) contain(context, example.picture, THUMB);
        else paint(context, example.strokes, THUMB, getComputedStyle(this.pad.canvas).color);
        return item;
      }),
    );
  }

  #changed() {
    this.#label();
    this.onchange();
  }

  #label() {
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
