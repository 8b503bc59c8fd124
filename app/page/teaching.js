// Puts picture files into the classes: into one card, or folder by folder into classes of their names.

import { addCard, allCards, cardNamed, dropSpares, everyExample, negativesCard, openNegatives } from "./classes.js";
import { plural } from "./dom.js";
import { nextPosition, ofPhoto } from "./example.js";
import { byFolder, sift } from "./files.js";
import { mostExamples } from "./key.js";
import { hideProgress, showError, showNotice, showProgress } from "./messages.js";
import { readPhotos } from "./photos.js";

const NEGATIVES = "_negatives"; // the folder of what is none of the classes, as in zips that the server takes
const LEFT = "left"; // why reading was stopped
const PATIENCE = 700; // milliseconds without a word of what is being read
const TOGETHER = 150; // milliseconds that photos are gathered before they are shown

let reading = Promise.resolve(); // until all photos chosen so far have been read
let stop = new AbortController(); // of the reading under way

/** Resolves once no photo is still being read. */
export const readingDone = () => reading;

/** Read no more. What was read stays in the classifier that it was for. */
function stopReading(why) {
  stop.abort(why);
  stop = new AbortController();
}

/** Read no more: another classifier is opened. */
export const leaveReading = () => stopReading(LEFT);

/** Add what was found to a card; without a card, or if there are several folders, to the classes of their names. */
export function teach(found, card = null) {
  const { pictures, others } = sift(found);
  if (pictures.length === 0) return showError(others ? unreadable(others) : "There are no pictures in there.");
  const room = Math.max(0, mostExamples() - everyExample().length);
  if (pictures.length > room) {
    const limit = `A classifier may have ${plural(mostExamples(), "example")}, so there is room for ${room} more`;
    return showError(`${limit}. You chose ${plural(pictures.length, "photo")}.`);
  }
  const isOfNone = ({ folders }) => card === negativesCard() || folders.includes(NEGATIVES);
  const targets = pictures.filter(isOfNone).map(({ file }) => ({ file, card: negativesCard() }));
  if (targets.length) openNegatives();
  const groups = byFolder(pictures.filter((each) => !isOfNone(each)));
  if (card && groups.size === 1) {
    const [folder] = groups.keys();
    if (folder && card.empty && /^[A-Z]$/.test(card.name)) card.field.value = folder;
    targets.push(...groups.get(folder).map((file) => ({ file, card })));
  } else {
    for (const [folder, files] of groups) {
      const target = folder ? cardNamed(folder) : (card ?? spareCard());
      targets.push(...files.map((file) => ({ file, card: target })));
    }
    if (groups.size > 1 || (groups.size && !groups.has(""))) dropSpares(new Set(targets.map((each) => each.card)));
  }
  reading = Promise.all([reading, read(targets, others)]);
  return reading;
}

const spareCard = () => allCards().find((card) => card.empty) ?? addCard(`class ${allCards().length + 1}`);

async function read(targets, others) {
  const mine = stop;
  const positions = targets.map(nextPosition); // so that examples keep the order of their files
  let [done, bad] = [0, others];
  const ready = new Map(); // examples by card, added together: each addition looks at all examples
  let timer = null;
  let isSlow = false;
  const add = () => {
    timer = null;
    for (const [card, examples] of ready) card.add(examples);
    ready.clear();
  };
  const show = () => showProgress("Reading photos", done, targets.length, stopReading);
  const slow = setTimeout(() => {
    isSlow = true;
    show();
  }, PATIENCE);
  mine.signal.addEventListener("abort", add); // what was read stays in the classifier that it was for
  await readPhotos(
    targets.map(({ file }) => file),
    (photo, index) => {
      const { card } = targets[index];
      if (photo) ready.set(card, [...(ready.get(card) ?? []), ofPhoto(photo, positions[index])]);
      else bad += 1;
      timer ??= setTimeout(add, TOGETHER);
      done += 1;
      if (isSlow || targets.length > 8) show();
    },
    mine.signal,
  );
  clearTimeout(timer);
  clearTimeout(slow);
  add();
  hideProgress();
  if (mine.signal.reason === LEFT || !targets.some(({ card }) => card.element.isConnected)) return done < targets.length && tellUnread(targets.length - done);
  if (mine.signal.aborted) showError(`Stopped after ${done} of ${plural(targets.length, "photo")}.`);
  else if (bad) showError(unreadable(bad));
}

/** Another classifier was opened, or all these classes were removed. */
const tellUnread = (count) =>
  showNotice(`${plural(count, "photo was", "photos were")} not read yet, and so ${count === 1 ? "is" : "are"} not in the classifier that you left.`);

/** What is said about files that are left out. */
export const unreadable = (count) =>
  count === 1 ? "One file was left out: it is not a picture that can be read." : `${count} files were left out: they are not pictures that can be read.`;
