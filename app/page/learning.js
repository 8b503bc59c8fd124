// The panel "How it learned": what the inner loop did to the loss, in a sentence and as a chart.

import { formatLoss, showLosses } from "./chart.js";
import { byId, plural } from "./dom.js";

/** `task` as the server described it. */
export function showLearning({ adaptation, quality, feedback }) {
  const { losses, support_accuracy: accuracy, milliseconds } = adaptation;
  const { judged = 0, right = 0 } = feedback ?? {};
  const told = judged ? ` You told it of ${plural(judged, "answer")} what was right: ${right} had been.` : "";
  byId("learned").textContent = summary(losses, accuracy, quality, `${milliseconds.toFixed(0)} ms`) + told;
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
