// Shows an answer: the verdict, a bar for each class, and a sentence for screen readers.

import { button, byId, listItem, setText, span } from "./dom.js";

const SPEECH_DELAY = 700; // milliseconds without a new answer before it is read out

export const percent = (share) => `${Math.round(100 * share)}%`;

/** The share of a class's own pictures, 0 to 1, that may wrongly count as "None of these". */
export const rejection = () => byId("reject").value / 100;

/** Whether the model can tell what is none of the classes. */
export const canReject = (answer) => typeof answer?.known === "number";

/** Whether an answer counts as "None of these". */
export const isUnknown = (answer) => canReject(answer) && answer.known < rejection();

export function showRejection() {
  const share = percent(rejection());
  byId("reject-value").textContent =
    rejection() === 0
      ? "Never: it always names a class."
      : `${share}: it finds out most other things, and turns away about ${share} of your own.`;
}

/** `correct(label)` is called when the visitor says that it was this class. */
export function makeBars(labels, correct) {
  const bars = byId("bars");
  const shown = [...bars.children].map(({ dataset }) => dataset.label);
  if (JSON.stringify(shown) === JSON.stringify(labels)) return; // and the focus stays where it is
  bars.replaceChildren(...labels.map((label) => makeBar(label, correct)));
  bars.tabIndex = labels.length > 8 ? 0 : -1; // long lists scroll, which the keyboard must reach
}

function makeBar(label, correct) {
  const row = listItem();
  row.dataset.label = label;
  const track = span("track");
  track.append(span("fill"));
  const teach = button("✓", () => correct(label), { className: "quiet correct", title: `It was ${label}: learn this` });
  teach.ariaLabel = `It was ${label}: learn this`;
  row.append(span("label", label), track, span("share"), teach);
  row.querySelector(".label").title = label;
  return row;
}

/** Whether a newer question waits for its answer: what is shown is then no longer true, and grey. */
export function markPending(pending = true) {
  byId("ask").classList.toggle("pending", pending);
}

/** `answer` is a prediction with `top_k` for all classes, or null to show nothing. */
export function showAnswer(answer) {
  const unknown = answer !== null && isUnknown(answer);
  showBars(answer, unknown);
  const [label, share, spoken] = verdict(answer, unknown);
  byId("verdict").classList.toggle("unknown", unknown);
  byId("verdict").querySelector(".label").textContent = label;
  byId("verdict").querySelector(".share").textContent = share;
  speak(spoken);
}

function showBars(answer, unknown) {
  byId("correct-hint").hidden = answer === null;
  byId("correct-none").hidden = !canReject(answer);
  const shares = new Map(answer?.top_k.map((score) => [score.label, score.confidence]));
  for (const row of byId("bars").children) {
    const { label } = row.dataset;
    const share = shares.get(label) ?? 0;
    row.querySelector(".fill").style.transform = `scaleX(${share})`;
    row.querySelector(".correct").disabled = answer === null;
    row.querySelector(".share").textContent = answer === null ? "" : percent(share);
    row.classList.toggle("best", !unknown && answer?.label === label);
  }
  showBest(byId("bars"));
}

/** Scroll a long list to its best class, and not the page with it. */
function showBest(bars) {
  const best = bars.querySelector(".best");
  if (!best) return;
  const top = best.offsetTop - bars.offsetTop;
  bars.scrollTop = Math.min(top, Math.max(bars.scrollTop, top + best.offsetHeight - bars.clientHeight));
}

/** The three texts of an answer: label, share, and the sentence for screen readers. */
function verdict(answer, unknown) {
  if (answer === null) return ["\u00a0", "", ""]; // a space that keeps the line's height
  const { label } = answer;
  const share = percent(answer.confidence);
  if (unknown) return ["None of these", `${label} ${share}`, `None of these; the closest is ${label}, ${share}`];
  return [label, share, `${label}, ${share}`];
}

let speechTimer;

/** Read out the text once answers stop changing. */
function speak(text) {
  clearTimeout(speechTimer);
  speechTimer = setTimeout(() => setText("spoken", text), SPEECH_DELAY);
}
