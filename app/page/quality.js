// The server's report on the examples: which look mislabelled, which are the same in two classes.

import { unflagClasses } from "./classes.js";
import { byId, listItem } from "./dom.js";

const MOST_LINES = 8;

/** `sources` has {card, index, id} of each example of the task by its number; undefined if it is not here. */
export function showQuality(quality, sources) {
  hideQuality();
  const lines = [];
  const name = ({ card, index }) => `${card.name}, example ${index + 1}`;
  const flag = ({ card, id }, text) => card.flag(id, text);
  for (const { index, looks_like: other } of quality?.suspects ?? []) {
    const source = sources.get(index);
    if (!source) continue;
    lines.push(`${name(source)} looks more like ${other}. Is its label right?`);
    flag(source, `looks like ${other}`);
  }
  for (const { first, second } of quality?.near_duplicates ?? []) {
    const [one, two] = [sources.get(first), sources.get(second)];
    if (!one || !two) continue;
    lines.push(`${name(one)} and ${name(two)} are almost the same picture in two classes.`);
    flag(one, `almost the same as ${name(two)}`);
    flag(two, `almost the same as ${name(one)}`);
  }
  byId("quality").hidden = lines.length === 0;
  const more = lines.splice(MOST_LINES);
  if (more.length) lines.push(`and ${more.length} more, which are marked`);
  byId("quality").querySelector("ul").replaceChildren(...lines.map((line) => listItem(line)));
}

export function hideQuality() {
  unflagClasses();
  byId("quality").hidden = true;
}
