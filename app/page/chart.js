// A chart of the support loss: before the first step of the inner loop and after each step.

import { reducedMotion } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [520, 170, 16, 24, 26, 28];
const MIN_SCALE = 0.01; // the top of the axis is at least this, so that tiny losses look tiny
const PAUSE = 140; // milliseconds between two points as the chart appears

export const formatLoss = (value) => (value < 0.0005 ? "0" : value.toFixed(value < 0.995 ? 3 : 2));

export function showLosses(container, losses) {
  const top = Math.max(...losses, MIN_SCALE);
  const spacing = (WIDTH - LEFT - RIGHT) / Math.max(1, losses.length - 1);
  const points = losses.map((loss, i) => [LEFT + i * spacing, TOP + (HEIGHT - TOP - BOTTOM) * (1 - loss / top)]);
  const drawing = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
  drawing.setAttribute("aria-label", `Loss on the examples, step by step: ${losses.map(formatLoss).join(", ")}`);
  const floor = HEIGHT - BOTTOM;
  drawing.append(element("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: floor, y2: floor, class: "axis" }));
  const line = element("polyline", { class: "loss" });
  drawing.append(line);
  const steps = points.map(([x, y], i) => {
    const anchor = i === 0 ? "start" : i === losses.length - 1 ? "end" : "middle";
    const step = element("g", { class: "point" });
    step.append(
      element("circle", { cx: x, cy: y, r: 5 }),
      text(formatLoss(losses[i]), { x, y: y - 12, "text-anchor": anchor }),
      text(i === 0 ? "start" : `step ${i}`, { x, y: HEIGHT - 8, "text-anchor": anchor, class: "tick" }),
    );
    drawing.append(step);
    return step;
  });
  container.replaceChildren(drawing);
  reveal(steps, points, line, reducedMotion.matches ? 0 : PAUSE);
}

/** Show one point after the other, and the line as far as they go. */
function reveal(steps, points, line, pause) {
  steps.forEach((step, i) =>
    setTimeout(() => {
      step.classList.add("shown");
      line.setAttribute("points", points.slice(0, i + 1).join(" "));
    }, i * pause),
  );
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
