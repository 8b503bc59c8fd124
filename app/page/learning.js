// The panel "How it learned": what the inner loop did to the loss, in a sentence and as a chart.

import { formatLoss, showLosses } from "./chart.js";
import { byId } from "./dom.js";

/** `adaptation` as the server described it. */
export function showLearning({ losses, support_accuracy: accuracy, milliseconds }) {
  byId("learned").textContent = summary(losses, accuracy, `${milliseconds.toFixed(0)} ms`);
  byId("inside").hidden = false;
  byId("chart").hidden = formatLoss(losses[0]) === formatLoss(losses.at(-1)); // a level line would show nothing
  showLosses(byId("chart"), losses);
}

function summary(losses, accuracy, time) {
  const [before, after] = [formatLoss(losses[0]), formatLoss(losses.at(-1))];
  const steps = losses.length - 1;
  const right = `It gets ${Math.round(100 * accuracy)}% of your examples right.`;
  const change = `from ${before} to ${after}`;
  if (before === after)
    return `Your examples are easy to tell apart. The first guess, in ${time}, left the ${steps} steps nothing to improve.`;
  if (losses.at(-1) > losses[0])
    return `Your examples contradict each other. The ${steps} steps could not lower the loss: it went ${change}. ${right}`;
  return `${steps} steps on one code for each class took the loss ${change}, in ${time}. ${right}`;
}
