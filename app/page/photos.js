// Picture files made small off the main thread, a few at a time.

import { shrink } from "./shrink.js";

const SHRINKERS = Math.max(1, Math.min(3, (navigator.hardwareConcurrency ?? 2) - 1));
// What the server reads although browsers may not; such files are sent as they are.
const SERVER_READS = /\.(heic|heif|hif|avif|avifs|tif|tiff|bmp|dib)$/i;
const LARGEST = 20 * 2 ** 20; // bytes of a file that is sent as it is

let idle = null; // shrinkers without work
const waiting = []; // functions that take the next idle one

/** A worker of its own if the browser has any, else the page itself. */
class Shrinker {
  constructor() {
    if (!("Worker" in window && "OffscreenCanvas" in window)) return;
    this.worker = new Worker(new URL("shrink.js", import.meta.url), { type: "module" });
  }

  async shrink(file) {
    const result = this.worker && (await this.#inWorker(file));
    return result === undefined ? shrink(file).catch(() => null) : result;
  }

  /** The result, null for a file that is no picture, or undefined if the worker failed. */
  #inWorker(file) {
    return new Promise((resolve) => {
      this.worker.onmessage = ({ data }) => resolve(data);
      this.worker.onerror = () => {
        this.worker.terminate(); // it could not start, or is out of memory
        this.worker = null;
        resolve(undefined);
      };
      this.worker.postMessage(file);
    });
  }
}

/** `{blob, drawn, name}`: the photo made small, or null if it is not a picture that can be read. */
export async function readPhoto(file) {
  idle ??= Array.from({ length: SHRINKERS }, () => new Shrinker());
  const shrinker = idle.pop() ?? (await new Promise((resolve) => waiting.push(resolve)));
  const result = await shrinker.shrink(file);
  if (waiting.length) waiting.shift()(shrinker);
  else idle.push(shrinker);
  if (result) return { ...result, name: file.name };
  if (SERVER_READS.test(file.name) && file.size <= LARGEST) return { blob: file, drawn: false, name: file.name };
  return null;
}

/** Read photos until `signal` aborts. `take(photo, index)` is called for each as it is ready, null if unreadable. */
export async function readPhotos(files, take, signal) {
  let next = 0;
  const reader = async () => {
    while (next < files.length && !signal?.aborted) {
      const index = next++;
      const photo = await readPhoto(files[index]);
      if (!signal?.aborted) take(photo, index);
    }
  };
  await Promise.all(Array.from({ length: SHRINKERS }, reader));
}
