// The panel "How it learned": what the inner loop did to the loss, in a sentence and as a chart.

import { byId, plural, setText } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [520, 170, 16, 24, 26, 28];
const MIN_SCALE = 0.01; // the top of the axis is at least this, so that tiny losses look tiny

const formatLoss = (value) => (value < 0.0005 ? "0" : value.toFixed(value < 0.995 ? 3 : 2));

/** `task` as the server described it. */
export function showLearning({ adaptation, quality, feedback }) {
  const { losses, support_accuracy: accuracy, milliseconds } = adaptation;
  const { judged = 0, right = 0 } = feedback ?? {};
  const told = judged ? ` You judged ${plural(judged, "answer")}, ${right} as right.` : "";
  setText("learned", summary(losses, accuracy, quality, `${milliseconds.toFixed(0)} ms`) + told);
  byId("inside").hidden = false;
  byId("chart").hidden = formatLoss(losses[0]) === formatLoss(losses.at(-1)); // a level line would show nothing
  showLosses(byId("chart"), losses);
}

/** Whether the examples are easy to tell apart shows in what it gets right and in the suspects, not in the loss. */
function summary(losses, accuracy, quality, time) {
  const { suspects = [], near_duplicates: duplicates = [] } = quality ?? {};
  const [before, after] = [formatLoss(losses[0]), formatLoss(losses.at(-1))];
  const steps = losses.length - 1;
  const right = `It gets ${Math.round(100 * accuracy)}% of your examples right.`;
  if (duplicates.length)
    return `Two classes have almost the same picture, and nothing can tell those apart. ${right} See “Worth a look”.`;
  if (losses.at(-1) > losses[0] && before !== after)
    return `Your examples contradict each other: in ${steps} steps, its error on them went from ${before} to ${after}. ${right}`;
  if (suspects.length === 1) return `One example looks more like another class than its own. ${right} See “Worth a look”.`;
  if (suspects.length)
    return `${suspects.length} examples look more like another class than their own. ${right} See “Worth a look”.`;
  const outcome =
    before === after
      ? `It learned them in ${time}; its first guess left nothing to improve.`
      : `It learned them in ${time}: in ${steps} steps, its error on them fell from ${before} to ${after}.`;
  if (accuracy < 1) return `Your examples are hard to tell apart. ${outcome} ${right}`;
  return before === after ? `Your examples are easy to tell apart. ${outcome}` : `${outcome} ${right}`;
}

/** A chart of the loss: before the first step of the inner loop and after each step. */
function showLosses(container, losses) {
  const top = Math.max(...losses, MIN_SCALE);
  const spacing = (WIDTH - LEFT - RIGHT) / Math.max(1, losses.length - 1);
  const points = losses.map((loss, i) => [LEFT + i * spacing, TOP + (HEIGHT - TOP - BOTTOM) * (1 - loss / top)]);
  const drawing = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
  drawing.ariaLabel = `Loss on the examples, step by step: ${losses.map(formatLoss).join(", ")}`;
  const floor = HEIGHT - BOTTOM;
  drawing.append(element("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: floor, y2: floor, class: "axis" }));
  drawing.append(element("polyline", { class: "loss", points: points.join(" ") }));
  points.forEach(([x, y], i) => {
    const anchor = i === 0 ? "start" : i === losses.length - 1 ? "end" : "middle";
    const step = element("g", { class: "point" });
    step.append(
      element("circle", { cx: x, cy: y, r: 5 }),
      text(formatLoss(losses[i]), { x, y: y - 12, "text-anchor": anchor }),
      text(i === 0 ? "start" : `step ${i}`, { x, y: HEIGHT - 8, "text-anchor": anchor, class: "tick" }),
    );
    drawing.append(step);
  });
  container.replaceChildren(drawing);
}

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function text(content, attributes) {
  const made = element("text", attributes);
  made.textContent = content;
  return made;
}
