// Starts the page: sets up its parts and connects them.

import { askFiles, askPad, refreshAnswer, setUpAsking } from "./ask.js";
import { setUpBatch, showSummary } from "./batch.js";
import { setUpCamera } from "./camera.js";
import { addClass, cardOf, redrawClasses, setUpClasses } from "./classes.js";
import { refreshCode, setUpCode } from "./code.js";
import { correct } from "./correction.js";
import { openDatabase } from "./database.js";
import { showExample, stopDemo } from "./demo.js";
import { byId, onClick } from "./dom.js";
import { draft, draftChanged } from "./drafts.js";
import { onDropped, onFilesPasted, onFolderChosen } from "./files.js";
import { setUpSharing } from "./keeping.js";
import { mayWrite, setUpKey } from "./key.js";
import { rename, setUpLibrary } from "./library.js";
import { setUpMessages, showError, showNotice } from "./messages.js";
import { chosenModel, offerModels } from "./models.js";
import { followAddress, setUpSession, startNew } from "./session.js";
import { classesEdited, refreshTask, taskLost } from "./task.js";
import { teach } from "./teaching.js";
import { setUpTheme } from "./theme.js";
import { setUpUndo } from "./undo.js";
import { canReturn, createTask, follow } from "./updating.js";
import { showRejection } from "./verdict.js";
import { openViewer, setUpViewer } from "./viewer.js";

function edited() {
  stopDemo();
  classesEdited();
  draftChanged();
}

function rejectionMoved() {
  showRejection();
  refreshAnswer();
  refreshCode();
  showSummary();
}

function modelChosen() {
  draft.model = chosenModel() ?? "";
  edited();
}

/** Files dropped or pasted somewhere: on a class, where one asks, or elsewhere, which means into the classes. */
function filesArrived(found, element) {
  if (found.length === 0) return showError("Drop picture files or folders of them. A link or a text cannot be read.");
  if (element?.closest("#ask") || !mayWrite()) return askFiles(found);
  teach(found, cardOf(element));
}

const zoneOf = (element) => element.closest?.(".card, #ask, #none") ?? byId("teach");

setUpMessages();
setUpClasses({ changed: edited, found: (card, found) => teach(found, card), opened: openViewer, follow, canReturn });
setUpTheme(() => {
  redrawClasses();
  askPad.draw();
});
setUpAsking({ lost: taskLost, again: () => createTask(), correct });
setUpBatch({ lost: taskLost, correct });
setUpCode();
setUpSharing();
setUpViewer();
setUpCamera();
setUpUndo();
setUpLibrary();
rejectionMoved();

onClick("add", addClass);
onClick("create", () => createTask());
onClick("example", showExample);
onClick("start-over", () => startNew());
byId("ask").addEventListener("pointerdown", stopDemo);
byId("reject").addEventListener("input", rejectionMoved);
byId("kind").addEventListener("change", modelChosen);
byId("keep-images").addEventListener("change", () => {
  draft.keepImages = byId("keep-images").checked;
  edited();
});
document.addEventListener("visibilitychange", () => document.hidden || refreshTask()); // others may have changed it
byId("name").addEventListener("change", () => rename(draft, byId("name").value.trim()));
onFolderChosen(byId("folder"), (found) => teach(found));
onDropped(zoneOf, filesArrived);
// Before there is anything to ask, what is pasted is an example.
onFilesPasted((found) => {
  const card = cardOf(document.activeElement);
  if (mayWrite() && (card || !draft.task)) teach(found, card);
  else askFiles(found);
});
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside it
}

// The second press of a double click means what the first one hit, not what has taken its place.
let [pressed, isStray] = [{ at: -Infinity }, false];
addEventListener("pointerdown", (event) => {
  const { target, timeStamp: at, clientX: x, clientY: y } = event;
  const isSecond = at - pressed.at < 500 && Math.hypot(x - pressed.x, y - pressed.y) < 5;
  isStray = isSecond && target !== pressed.target;
  if (isStray) event.stopImmediatePropagation();
  else pressed = { target, at, x, y };
}, true);
addEventListener("click", (event) => isStray && event.detail && (event.stopImmediatePropagation(), event.preventDefault()), true);

openDatabase(showNotice);
// Without the choice of a model, the server chooses.
const models = offerModels().catch(() => {});
setUpKey(() => {
  document.body.classList.toggle("read-only", !mayWrite());
  refreshCode();
  refreshTask();
  followAddress();
});
models.then(setUpSession);
