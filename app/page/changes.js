// How what the page shows differs from what the task on the server has, example by example.

/**
 * `shown` lists {example, label}, `sent` [id, label, number] of the examples in the task. The result lists what is to
 * be added, {example, label} again, what has another label now, {id, label}, and the ids of what is no longer shown.
 */
export function differences(shown, sent) {
  const labels = new Map(shown.map(({ example, label }) => [example.id, label]));
  const inTask = new Set(sent.map(([id]) => id));
  return {
    fresh: shown.filter(({ example }) => !inTask.has(example.id)),
    moved: sent
      .filter(([id, label]) => labels.has(id) && labels.get(id) !== label)
      .map(([id]) => ({ id, label: labels.get(id) })),
    removed: sent.map(([id]) => id).filter((id) => !labels.has(id)),
  };
}

/**
 * Whether at least two classes remain after each single change, in the order in which they are made: additions, moves,
 * removals. The server refuses one that leaves fewer. `shots`: how many examples the task has of each class.
 */
export function leavesTwo(shots, sent, { fresh, moved, removed }) {
  const left = new Map(Object.entries(shots));
  const count = (label, by) => left.set(label, (left.get(label) ?? 0) + by);
  const isEnough = () => [...left.values()].filter((each) => each > 0).length >= 2;
  const labels = new Map(sent);
  for (const { label } of fresh) if (label !== null) count(label, 1);
  return (
    moved.every(({ id, label }) => (count(label, 1), count(labels.get(id), -1), isEnough())) &&
    removed.every((id) => (count(moved.find((each) => each.id === id)?.label ?? labels.get(id), -1), isEnough()))
  );
}

/**
 * Pair `sent` with the examples that the server lists, {index, label}. What was sent without knowing its number gets
 * that of the first one with its label that is nobody's: examples are numbered in the order in which they are sent.
 * The result has the pairs, [id, label, number] with the server's labels, and the listed ones that are in none.
 */
export function pair(sent, listed) {
  const labels = new Map(listed.map(({ index, label }) => [index, label]));
  const taken = new Set(sent.map(([, , number]) => number));
  const others = listed.filter(({ index }) => !taken.has(index));
  const pairs = [];
  for (const [id, label, number] of sent) {
    if (labels.has(number)) pairs.push([id, labels.get(number), number]);
    if (typeof number === "number") continue;
    const place = others.findIndex((each) => each.label === label);
    if (place >= 0) pairs.push([id, label, others.splice(place, 1)[0].index]);
  }
  return { pairs, others };
}
