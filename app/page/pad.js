// A square pad to draw on with a pointer or the keyboard. It can also show a picture instead.

import { paintPicture, paintStrokes } from "./example.js";

const MIN_DISTANCE = 0.004; // a point nearer than this to the last one is skipped

export class Pad {
  /** `element` contains a canvas. `onchange(time)` is called after every change, with the time it happened. */
  constructor(element, onchange) {
    this.element = element;
    this.canvas = element.querySelector("canvas");
    this.onchange = onchange;
    this.strokes = []; // lists of points [x, y], both 0 to 1, so that they can be painted at any size
    this.picture = null; // a bitmap, shown instead of strokes
    this.cleared = null; // what `undo` brings back after `clear`
    this.drawing = false; // whether a pointer is down
    this.pen = null; // {x, y, down} while the keyboard draws
    this.#addListeners();
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  get empty() {
    return this.strokes.length === 0 && this.picture === null;
  }

  set(strokes) {
    this.show(strokes);
    this.#changed();
  }

  /** Show strokes, or a picture, without a call of `onchange`. */
  show(strokes, picture = null) {
    this.strokes = strokes.map((stroke) => [...stroke]);
    this.picture = picture;
    this.cleared = null;
    this.draw();
  }

  setPicture(bitmap) {
    this.show([], bitmap);
    this.#changed();
  }

  clear() {
    if (this.empty) return;
    const { strokes, picture } = this;
    this.set([]);
    this.cleared = { strokes, picture };
  }

  undo() {
    if (this.picture) this.clear();
    else if (this.strokes.length) this.set(this.strokes.slice(0, -1));
    else if (this.cleared) this.#restore(this.cleared);
  }

  #restore({ strokes, picture }) {
    this.show(strokes, picture);
    this.#changed();
  }

  /** Add a point to the last stroke, or to a new one. */
  add(point, newStroke, time) {
    this.picture = this.cleared = null;
    if (newStroke) this.strokes.push([point]);
    else this.strokes.at(-1).push(point);
    this.#changed(time);
  }

  draw() {
    this.element.classList.toggle("drawn", !this.empty);
    const side = Math.round(this.canvas.clientWidth * devicePixelRatio);
    if (side === 0) return;
    if (this.canvas.width !== side) this.canvas.width = this.canvas.height = side;
    const context = this.canvas.getContext("2d");
    const colour = getComputedStyle(this.canvas).color;
    context.clearRect(0, 0, side, side);
    if (this.picture) paintPicture(context, this.picture, side);
    else paintStrokes(context, this.strokes, side, colour);
    if (this.pen) this.#drawPen(context, side);
  }

  #drawPen(context, side) {
    const { x, y, down } = this.pen;
    context.beginPath();
    context.arc(x * side, y * side, side * (down ? 0.03 : 0.045), 0, 2 * Math.PI);
    context.lineWidth = side * 0.012;
    context.strokeStyle = context.fillStyle = getComputedStyle(this.canvas).accentColor;
    if (down) context.fill();
    else context.stroke();
  }

  #changed(time = performance.now()) {
    this.draw();
    this.onchange(time);
  }

  #addListeners() {
    let pointer = null; // id of the pointer that draws
    const position = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return [clamp((event.clientX - box.left) / box.width), clamp((event.clientY - box.top) / box.height)];
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || pointer !== null) return;
      pointer = event.pointerId;
      this.drawing = true;
      this.canvas.setPointerCapture(pointer);
      this.add(position(event), true, event.timeStamp);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (event.pointerId !== pointer) return;
      const stroke = this.strokes.at(-1);
      if (!stroke) return; // the pad was cleared meanwhile
      let moved = false;
      for (const each of event.getCoalescedEvents?.() ?? [event]) {
        const point = position(each);
        if (distance(point, stroke.at(-1)) < MIN_DISTANCE) continue;
        stroke.push(point);
        moved = true;
      }
      if (moved) this.#changed(event.timeStamp);
    });
    for (const ending of ["pointerup", "pointercancel"]) {
      this.canvas.addEventListener(ending, (event) => {
        if (event.pointerId !== pointer) return;
        pointer = null;
        this.drawing = false;
      });
    }
    this.canvas.addEventListener("keydown", (event) => this.#onKey(event));
    this.canvas.addEventListener("blur", () => {
      this.pen = null;
      this.draw();
    });
  }

  #onKey(event) {
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && !(this.empty && !this.cleared)) {
      event.preventDefault();
      return this.undo();
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const move = moves[event.key];
    const known = move || ["Backspace", "Delete", " "].includes(event.key);
    if (!known) return;
    event.preventDefault();
    if (event.key === "Backspace") return this.undo();
    if (event.key === "Delete") return this.clear();
    this.pen ??= { x: 0.5, y: 0.5, down: false };
    if (move) {
      const step = event.shiftKey ? 0.15 : 0.05;
      this.pen.x = clamp(this.pen.x + step * move[0]);
      this.pen.y = clamp(this.pen.y + step * move[1]);
      if (this.pen.down && this.strokes.length) return this.add([this.pen.x, this.pen.y], false);
    } else {
      this.pen.down = !this.pen.down;
      if (this.pen.down) return this.add([this.pen.x, this.pen.y], true);
    }
    this.draw();
  }
}

const clamp = (value) => Math.min(1, Math.max(0, value));
const distance = ([x1, y1], [x2, y2]) => Math.hypot(x1 - x2, y1 - y2);
