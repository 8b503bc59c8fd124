// Five signs to show as an example, and a function that draws a sign a little differently each time.

const STEP = 0.025; // distance between two points of a line, so that it can be drawn point by point

/** The points of a line through the corners. */
const line = (...corners) =>
  corners.flatMap(([x, y], i) => {
    if (i === 0) return [[x, y]];
    const [fromX, fromY] = corners[i - 1];
    const parts = Math.max(1, Math.round(Math.hypot(x - fromX, y - fromY) / STEP));
    return Array.from({ length: parts }, (_, p) => {
      const share = (p + 1) / parts;
      return [fromX + (x - fromX) * share, fromY + (y - fromY) * share];
    });
  });

const circle = (x, y, radius, points = 40) =>
  Array.from({ length: points }, (_, i) => {
    const angle = (2 * i / (points - 1) - 0.5) * Math.PI;
    return [x + radius * Math.cos(angle), y + radius * Math.sin(angle)];
  });

const RING = circle(0.5, 0.5, 0.34);

// Similar on purpose: signs that are easy to tell apart leave the inner loop nothing to do.
export const SIGNS = {
  ring: [RING],
  target: [RING, circle(0.5, 0.5, 0.14, 20)],
  clock: [RING, line([0.5, 0.27], [0.5, 0.5], [0.66, 0.58])],
  wheel: [RING, line([0.5, 0.16], [0.5, 0.84]), line([0.16, 0.5], [0.84, 0.5])],
  stop: [RING, line([0.27, 0.73], [0.73, 0.27])],
};

/** The same sign a little turned, sheared, stretched and moved. Equal seeds give equal results. */
export function varied(strokes, seed) {
  const random = generator(seed);
  const about = (size) => (random() - 0.5) * 2 * size;
  const [turn, shear, wide, high] = [about(0.14), about(0.12), 1 + about(0.1), 1 + about(0.1)];
  const [right, down] = [about(0.03), about(0.03)];
  return strokes.map((stroke) =>
    stroke.map(([x, y]) => {
      const [u, v] = [(x - 0.5) * wide, (y - 0.5) * high];
      return [
        0.5 + right + u * Math.cos(turn) - v * Math.sin(turn) + shear * v,
        0.5 + down + u * Math.sin(turn) + v * Math.cos(turn),
      ];
    }),
  );
}

/** A function that returns random numbers from 0 to 1. */
function generator(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
