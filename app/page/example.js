// One example of a class: strokes drawn on the pad, a photo made small, or one whose picture is not in this browser.
// How each is painted, and which file is sent of it. Examples never change; others replace them.

import { keyOf } from "./changes.js";
import { makeCanvas, newId } from "./dom.js";

const PEN_WIDTH = 0.042; // as a part of the side
const DRAWING_SIDE = 160; // pixels of a drawing that is sent
let last = 0;

/** A number that grows with time, by which examples are sorted. */
export function nextPosition() {
  last = Math.max(last + 1, Date.now());
  return last;
}

export const ofStrokes = (strokes) => ({ id: newId(), position: nextPosition(), strokes });

/** `photo` is what `shrink` returned. */
export const ofPhoto = ({ blob, name, drawn }, position = nextPosition()) => ({ id: newId(), position, blob, name, drawn });

/** An example that others have added to a task: its picture, or `remote` without one. Each tab gives it the same id. */
export function ofServer(taskId, { index, label }, blob, drawn) {
  const example = { id: `${taskId}-${keyOf(label, index)}`, position: nextPosition(), name: `example ${index}`, drawn };
  return blob ? { ...example, blob } : { ...example, remote: true };
}

const asFile = ({ blob, strokes }) => blob ?? strokesAsFile(strokes);

/** Add the file to a form. */
export const appendTo = (form, field, example) => form.append(field, asFile(example), example.name ?? "drawing.png");

export const isDrawn = ({ strokes, drawn }) => Boolean(strokes || drawn);

/** Paint the example on a square canvas. `colour` is that of strokes. */
export async function paint(canvas, example, colour) {
  const context = canvas.getContext("2d");
  if (example.remote) return paintRemote(context, canvas.width, colour);
  if (example.strokes) {
    context.clearRect(0, 0, canvas.width, canvas.height);
    return paintStrokes(context, example.strokes, canvas.width, colour);
  }
  const bitmap = await bitmapOf(example);
  context.clearRect(0, 0, canvas.width, canvas.height);
  paintPicture(context, bitmap, canvas.width);
  bitmap.close?.();
}

/** Three dots, for a picture that is not here. */
function paintRemote(context, side, colour) {
  context.clearRect(0, 0, side, side);
  context.fillStyle = colour;
  for (const x of [0.32, 0.5, 0.68]) {
    context.beginPath();
    context.arc(x * side, side / 2, side * 0.05, 0, 2 * Math.PI);
    context.fill();
  }
}

/** The photo as a bitmap, or a card with its name if the browser cannot show it, as with HEIC in most. */
export async function bitmapOf({ blob, name }) {
  try {
    return await createImageBitmap(blob);
  } catch {
    return nameCard(name ?? "photo");
  }
}

function nameCard(name) {
  const canvas = makeCanvas(240, 240);
  const context = canvas.getContext("2d");
  context.fillStyle = "#888";
  context.fillRect(0, 0, 240, 240);
  context.fillStyle = "#fff";
  context.textAlign = "center";
  context.font = "bold 64px sans-serif";
  context.fillText(name.split(".").at(-1).toUpperCase().slice(0, 5), 120, 125);
  context.font = "22px sans-serif";
  context.fillText(name.slice(0, 18), 120, 175);
  return canvas;
}

/** Paint strokes on a square canvas of `side` pixels. Each corner becomes a curve through the midpoints beside it. */
export function paintStrokes(context, strokes, side, colour) {
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = PEN_WIDTH * side;
  context.lineCap = context.lineJoin = "round";
  for (const stroke of strokes) {
    const points = stroke.map(([x, y]) => [x * side, y * side]);
    context.beginPath();
    if (points.length === 1) {
      context.arc(...points[0], (PEN_WIDTH * side) / 2, 0, 2 * Math.PI);
      context.fill();
      continue;
    }
    context.moveTo(...points[0]);
    for (let i = 1; i < points.length - 1; i++) {
      const [x, y] = points[i];
      const [nextX, nextY] = points[i + 1];
      context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
    }
    context.lineTo(...points.at(-1));
    context.stroke();
  }
}

/** Paint the whole picture in the middle of a square canvas of `side` pixels. */
export function paintPicture(context, bitmap, side) {
  const scale = side / Math.max(bitmap.width, bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  context.drawImage(bitmap, (side - width) / 2, (side - height) / 2, width, height);
}

/** A drawing in black on white, as a PNG file in base64. */
export function encodeStrokes(strokes) {
  const context = makeCanvas(DRAWING_SIDE, DRAWING_SIDE).getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, DRAWING_SIDE, DRAWING_SIDE);
  paintStrokes(context, strokes, DRAWING_SIDE, "#000");
  // Not toBlob: browsers delay it until they are idle, which they never are while somebody draws.
  return context.canvas.toDataURL("image/png").split(",")[1];
}

/** The same drawing as a file. */
function strokesAsFile(strokes) {
  const bytes = Uint8Array.from(atob(encodeStrokes(strokes)), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}
