// Makes one photo small: what is sent and kept of it. Runs as a worker, or on the page where there is no such worker.

const SIDE = 480; // pixels of the longer side; the server uses 400
const SMALL_FILE = 100_000; // bytes; a file up to this that is small in pixels too is sent as it is
const QUALITY = 0.9;
const LOOK = 64; // pixels of the square in which drawings are told from photos

/**
 * Return `{blob, drawn}`: a JPEG, or a PNG if the picture is transparent, since on a white ground light marks would be
 * lost; and whether it looks like a drawing. Throws if the browser cannot read the file. It applies EXIF rotation.
 */
export async function shrink(file) {
  const bitmap = await createImageBitmap(file);
  try {
    const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
    const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
    const small = scaled(bitmap, width, height);
    const look = scaled(small, LOOK, LOOK).getContext("2d").getImageData(0, 0, LOOK, LOOK).data;
    const isSmall = scale === 1 && file.size <= SMALL_FILE && /^image\/(png|jpeg)$/.test(file.type);
    const type = isTransparent(look) ? "image/png" : "image/jpeg";
    return { blob: isSmall ? file.slice(0, file.size, file.type) : await encode(small, type), drawn: looksDrawn(look) };
  } finally {
    bitmap.close();
  }
}

function scaled(picture, width, height) {
  const canvas = "document" in self ? Object.assign(document.createElement("canvas"), { width, height }) : new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: width === LOOK });
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, width, height);
  return canvas;
}

const encode = (canvas, type) =>
  canvas.convertToBlob
    ? canvas.convertToBlob({ type, quality: QUALITY })
    : new Promise((resolve) => canvas.toBlob(resolve, type, QUALITY));

function isTransparent(pixels) {
  for (let i = 3; i < pixels.length; i += 4) if (pixels[i] < 250) return true;
  return false;
}

/** Whether most of the picture is one tone of grey with little ink on it: a rough form of what the server does. */
function looksDrawn(pixels) {
  const greys = [];
  let coloured = 0;
  for (let i = 0; i < pixels.length; i += 4) {
    const [red, green, blue, alpha] = pixels.subarray(i, i + 4);
    const onWhite = (level) => (level * alpha) / 255 + 255 - alpha;
    greys.push(onWhite((red + green + blue) / 3));
    if (Math.max(red, green, blue) - Math.min(red, green, blue) > 64 && alpha > 128) coloured += 1;
  }
  const paper = [...greys].sort((one, other) => one - other)[greys.length / 2];
  const ink = greys.filter((grey) => Math.abs(grey - paper) > 18).length;
  return ink < 0.35 * greys.length && coloured < 0.15 * greys.length && paper > 200;
}

if (!("document" in self)) self.onmessage = async ({ data: file }) => self.postMessage(await shrink(file).catch(() => null));
