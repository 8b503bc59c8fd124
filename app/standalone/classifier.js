// The classifier, for any page: `await load()`, then `await classify(picture)` for a Blob or File.
import * as ort from "./onnxruntime/ort.wasm.bundle.min.mjs";

const MOST_PIXELS = 8_000_000; // a larger picture is made smaller first, since all of it has to fit into memory

let session;

/** Read the labels and the graph, and return what `labels.json` holds. */
export async function load() {
  ort.env.wasm.wasmPaths = { wasm: new URL("onnxruntime/ort-wasm-simd-threaded.wasm", import.meta.url).href };
  ort.env.wasm.numThreads = 1; // several need headers that most servers do not send
  const about = await (await got("labels.json")).json();
  session = await ort.InferenceSession.create(await (await got("classifier.onnx")).arrayBuffer());
  return about;
}

/**
 * Return the `probabilities` of the labels, in the order of `labels.json`, and `known`: how much the picture looks like
 * those of the labels, 0 to 1, or null for a model that cannot tell. They are NaN if no drawing is found.
 */
export async function classify(picture) {
  const { data, dims } = await pixels(picture);
  const { probabilities, known } = await session.run({ picture: new ort.Tensor("uint8", data, dims) });
  return { probabilities: Array.from(probabilities.data), known: known ? known.data[0] : null };
}

async function got(name) {
  const response = await fetch(new URL(name, import.meta.url));
  if (!response.ok) throw new Error(`${name}: ${response.status} ${response.statusText}`);
  return response;
}

/** Decode a picture: upright, in sRGB, as [height, width, 3], or 4 if a pixel is transparent. */
async function pixels(picture) {
  let bitmap = await createImageBitmap(picture);
  const shrink = Math.sqrt(MOST_PIXELS / (bitmap.width * bitmap.height));
  if (shrink < 1) {
    const resizeWidth = Math.max(1, Math.floor(bitmap.width * shrink));
    const resizeHeight = Math.max(1, Math.floor(bitmap.height * shrink));
    const small = await createImageBitmap(bitmap, { resizeWidth, resizeHeight, resizeQuality: "high" });
    bitmap.close();
    bitmap = small;
  }
  const { width, height } = bitmap;
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const all = new Uint8Array(context.getImageData(0, 0, width, height).data.buffer);
  if (isTransparent(all)) return { data: all, dims: [height, width, 4] };
  const data = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < all.length; from += 4) {
    data[to++] = all[from];
    data[to++] = all[from + 1];
    data[to++] = all[from + 2];
  }
  return { data, dims: [height, width, 3] };
}

function isTransparent(all) {
  for (let at = 3; at < all.length; at += 4) if (all[at] < 255) return true;
  return false;
}
