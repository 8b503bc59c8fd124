// The panel "How it learned": what the inner loop did to the loss, in a sentence and as a chart.

import { formatLoss, showLosses } from "./chart.js";
import { byId, plural } from "./dom.js";

/** `task` as the server described it. */
export function showLearning({ adaptation, quality }) {
  const { losses, support_accuracy: accuracy, milliseconds } = adaptation;
  byId("learned").textContent = summary(losses, accuracy, quality, `${milliseconds.toFixed(0)} ms`);
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
  const change = `from ${before} to ${after}`;
  if (duplicates.length)
    return `Two classes hold almost the same picture, and nothing can tell those apart. ${right} See “Worth a look”.`;
  if (losses.at(-1) > losses[0] && before !== after)
    return `Your examples contradict each other. The ${steps} steps could not lower the loss: it went ${change}. ${right}`;
  const outcome =
    before === after
      ? `The first guess, in ${time}, left the ${steps} steps nothing to improve.`
      : `${steps} steps on one code for each class took the loss ${change}, in ${time}.`;
  if (suspects.length)
    return `${plural(suspects.length, "example looks", "examples look")} more like another class. ${outcome} ${right}`;
  if (accuracy < 1) return `Your examples are hard to tell apart. ${outcome} ${right}`;
  return before === after ? `Your examples are easy to tell apart. ${outcome}` : `${outcome} ${right}`;
}
