// How what the page shows differs from what the task on the server has, example by example.

/**
 * What an example is found by, be it its id or its number. Those of none of the classes, whose label is null, are
 * numbered on their own; and what moves to or from them is removed and added, so that it is there twice for a while.
 */
export const keyOf = (label, name) => `${label === null ? "none" : "class"} ${name}`;

/**
 * `shown` lists {example, label}, `sent` entries [id, label, number] of the examples in the task. The result lists what
 * is to be added, {example, label} again, what has another label now, {entry, label}, and entries no longer shown.
 */
export function differences(shown, sent) {
  const labels = new Map(shown.map(({ example, label }) => [keyOf(label, example.id), label]));
  const inTask = new Set(sent.map(([id, label]) => keyOf(label, id)));
  const now = sent.map((entry) => ({ entry, label: labels.get(keyOf(entry[1], entry[0])) }));
  return {
    fresh: shown.filter(({ example, label }) => !inTask.has(keyOf(label, example.id))),
    moved: now.filter(({ entry, label }) => label !== undefined && label !== entry[1]),
    removed: now.filter(({ label }) => label === undefined).map(({ entry }) => entry),
  };
}

/**
 * Whether at least two classes remain after each single change, in the order in which they are made: additions, moves,
 * removals. The server refuses one that leaves fewer. `shots`: how many examples the task has of each class.
 */
export function leavesTwo(shots, { fresh, moved, removed }) {
  const left = new Map(Object.entries(shots));
  const count = (label, by) => label !== null && left.set(label, (left.get(label) ?? 0) + by);
  const isEnough = () => [...left.values()].filter((each) => each > 0).length >= 2;
  for (const { label } of fresh) count(label, 1);
  return (
    moved.every(({ entry, label }) => (count(label, 1), count(entry[1], -1), isEnough())) &&
    removed.every(([, label]) => (count(label, -1), isEnough()))
  );
}

/**
 * Pair `sent` with the examples that the server lists, {index, label}. What was sent without knowing its number gets
 * that of the first one with its label that is nobody's: examples are numbered in the order in which they are sent.
 * The result has the pairs, [id, label, number] with the server's labels, and the listed ones that are in none.
 */
export function pair(sent, listed) {
  const labels = new Map(listed.map(({ index, label }) => [keyOf(label, index), label]));
  const taken = new Set(sent.map(([, label, number]) => keyOf(label, number)));
  const others = listed.filter(({ index, label }) => !taken.has(keyOf(label, index)));
  const pairs = [];
  for (const [id, label, number] of sent) {
    const now = labels.get(keyOf(label, number));
    if (now !== undefined) pairs.push([id, now, number]);
    if (typeof number === "number") continue;
    const place = others.findIndex((each) => each.label === label);
    if (place >= 0) pairs.push([id, label, others.splice(place, 1)[0].index]);
  }
  return { pairs, others };
}
