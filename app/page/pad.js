// A square to draw on. Strokes are kept as points in the unit square, so they can be drawn again at
// any size and in any colour; what is sent is always black on white.

const PEN = 0.042; // width of a stroke, as a part of the side
const SENT = 160; // side of a drawing that is sent, pixels
const PICTURE = 480; // longest side of a picture that is sent, pixels; the server looks at 400
const NEAR = 0.004; // points nearer than this to the one before add nothing

export class Pad {
  /** `element` holds a canvas; `onchange(time)` is called after every change, with its moment. */
  constructor(element, onchange) {
    this.element = element;
    this.canvas = element.querySelector("canvas");
    this.onchange = onchange;
    this.strokes = [];
    this.picture = null; // a bitmap instead of strokes
    this.pen = null; // the keyboard's: {x, y, down}
    this.#listen();
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  get empty() {
    return this.strokes.length === 0 && this.picture === null;
  }

  set(strokes) {
    this.strokes = strokes;
    this.picture = null;
    this.#changed();
  }

  setPicture(bitmap) {
    this.strokes = [];
    this.picture = bitmap;
    this.#changed();
  }

  clear() {
    if (!this.empty) this.set([]);
  }

  undo() {
    if (this.picture) this.clear();
    else if (this.strokes.length) this.set(this.strokes.slice(0, -1));
  }

  /** Add a stroke's point now, as if it were drawn. */
  add(point, begins, time) {
    this.picture = null;
    if (begins) this.strokes.push([point]);
    else this.strokes.at(-1).push(point);
    this.#changed(time);
  }

  /** What is drawn, as a PNG file in base64. */
  encoded() {
    return this.picture ? encodePicture(this.picture) : encodeStrokes(this.strokes);
  }

  draw() {
    const side = Math.round(this.canvas.clientWidth * devicePixelRatio);
    if (side === 0) return;
    if (this.canvas.width !== side) this.canvas.width = this.canvas.height = side;
    const context = this.canvas.getContext("2d");
    const colour = getComputedStyle(this.canvas).color;
    context.clearRect(0, 0, side, side);
    if (this.picture) contain(context, this.picture, side);
    else paint(context, this.strokes, side, colour);
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
    this.element.classList.toggle("drawn", !this.empty);
    this.draw();
    this.onchange(time);
  }

  #listen() {
    let drawing = null; // the pointer that draws
    const at = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return [clamp((event.clientX - box.left) / box.width), clamp((event.clientY - box.top) / box.height)];
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || drawing !== null) return;
      drawing = event.pointerId;
      this.canvas.setPointerCapture(drawing);
      this.add(at(event), true, event.timeStamp);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (event.pointerId !== drawing) return;
      const stroke = this.strokes.at(-1);
      if (!stroke) return; // cleared meanwhile
      let moved = false;
      for (const each of event.getCoalescedEvents?.() ?? [event]) {
        const point = at(each);
        if (distance(point, stroke.at(-1)) < NEAR) continue;
        stroke.push(point);
        moved = true;
      }
      if (moved) this.#changed(event.timeStamp);
    });
    for (const ending of ["pointerup", "pointercancel"]) {
      this.canvas.addEventListener(ending, (event) => {
        if (event.pointerId === drawing) drawing = null;
      });
    }
    this.canvas.addEventListener("keydown", (event) => this.#key(event));
    this.canvas.addEventListener("blur", () => {
      this.pen = null;
      this.draw();
    });
  }

  #key(event) {
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

/** Strokes on a canvas of `side` pixels, their corners rounded through the midpoints. */
export function paint(context, strokes, side, colour) {
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = PEN * side;
  context.lineCap = context.lineJoin = "round";
  for (const stroke of strokes) {
    const points = stroke.map(([x, y]) => [x * side, y * side]);
    const [first] = points;
    const last = points.at(-1);
    context.beginPath();
    if (points.length === 1) {
      context.arc(...first, (PEN * side) / 2, 0, 2 * Math.PI);
      context.fill();
      continue;
    }
    context.moveTo(...first);
    for (let i = 1; i < points.length - 1; i++) {
      const [x, y] = points[i];
      const [nextX, nextY] = points[i + 1];
      context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
    }
    context.lineTo(...last);
    context.stroke();
  }
}

export function encodeStrokes(strokes) {
  const context = makeCanvas(SENT, SENT).getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, SENT, SENT);
  paint(context, strokes, SENT, "#000");
  return base64(context.canvas);
}

/** A chosen or pasted picture at a size worth sending; the browser has turned it upright. */
export function encodePicture(bitmap) {
  const scale = Math.min(1, PICTURE / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  // Not on white: what is light and transparent must stay so for the server to see it.
  const canvas = makeCanvas(width, height);
  canvas.getContext("2d").drawImage(bitmap, 0, 0, width, height);
  return base64(canvas);
}

/** A picture, whole, in the middle of a square. */
export function contain(context, bitmap, side) {
  const scale = side / Math.max(bitmap.width, bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  context.drawImage(bitmap, (side - width) / 2, (side - height) / 2, width, height);
}

const makeCanvas = (width, height) => Object.assign(document.createElement("canvas"), { width, height });

// Not toBlob: browsers put that off until they are idle, which they never are while somebody draws.
const base64 = (canvas) => canvas.toDataURL("image/png").split(",")[1];
const clamp = (value) => Math.min(1, Math.max(0, value));
const distance = ([x1, y1], [x2, y2]) => Math.hypot(x1 - x2, y1 - y2);
