// A worker that makes photos small, one after the other, while the page stays responsive.

import { shrink } from "./shrink.js";

// The page loads this file ahead as a module of its own, where it has nothing to do.
if (!("document" in self)) {
  self.onmessage = async ({ data: file }) => self.postMessage(await shrink(file).catch(() => null));
}
