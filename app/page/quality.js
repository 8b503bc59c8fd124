// The server's report on the examples: which look mislabelled, which are the same in two classes.

import { unflagClasses } from "./classes.js";
import { byId, listItem } from "./dom.js";

/** `sources` has the card and the index of each support image, in the order they were sent. */
export function showQuality(quality, sources) {
  hideQuality();
  const lines = [];
  const name = ({ card, index }) => `${card.name}, example ${index + 1}`;
  const flag = ({ card, index }, text) => card.flag(index, text);
  for (const { index, looks_like: other } of quality?.suspects ?? []) {
    const source = sources[index];
    lines.push(`${name(source)} looks more like ${other}. Is its label right?`);
    flag(source, `looks like ${other}`);
  }
  for (const { first, second } of quality?.near_duplicates ?? []) {
    const [one, two] = [sources[first], sources[second]];
    lines.push(`${name(one)} and ${name(two)} are almost the same picture in two classes.`);
    flag(one, `almost the same as ${name(two)}`);
    flag(two, `almost the same as ${name(one)}`);
  }
  byId("quality").hidden = lines.length === 0;
  byId("quality").querySelector("ul").replaceChildren(...lines.map((line) => listItem(line)));
}

export function hideQuality() {
  unflagClasses();
  byId("quality").hidden = true;
}
