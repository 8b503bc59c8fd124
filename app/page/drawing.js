// Paints strokes and pictures on a canvas, and encodes strokes as the PNG files that are sent.

import { makeCanvas } from "./dom.js";

const PEN_WIDTH = 0.042; // as a part of the side
const DRAWING_SIDE = 160; // pixels of a drawing that is sent

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

/** The drawing in black on white, as a PNG file in base64. */
export function encodeStrokes(strokes) {
  const context = makeCanvas(DRAWING_SIDE, DRAWING_SIDE).getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, DRAWING_SIDE, DRAWING_SIDE);
  paintStrokes(context, strokes, DRAWING_SIDE, "#000");
  // Not toBlob: browsers delay it until they are idle, which they never are while somebody draws.
  return context.canvas.toDataURL("image/png").split(",")[1];
}

/** The same drawing as a file. */
export function strokesAsFile(strokes) {
  const bytes = Uint8Array.from(atob(encodeStrokes(strokes)), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}
