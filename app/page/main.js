// Starts the page: sets up its parts and connects them.

import { askPad, askPicture, refreshAnswer, setUpAsking } from "./ask.js";
import { addClass, focusedCard, redrawClasses, setUpClasses } from "./classes.js";
import { refreshCode, setUpCode } from "./code.js";
import { showExample, stopDemo } from "./demo.js";
import { byId } from "./dom.js";
import { onFilesPasted } from "./files.js";
import { offerModels } from "./models.js";
import { classesEdited, createTask } from "./task.js";
import { setUpTheme } from "./theme.js";
import { showThreshold } from "./verdict.js";

function edited() {
  stopDemo();
  classesEdited();
}

function thresholdMoved() {
  showThreshold();
  refreshAnswer();
  refreshCode();
}

setUpClasses(["A", "B", "C", "D", "E"], edited);
setUpTheme(() => {
  redrawClasses();
  askPad.draw();
});
setUpAsking();
setUpCode();
thresholdMoved();
offerModels().catch(() => {}); // without the choice, the server chooses

byId("add").addEventListener("click", addClass);
byId("create").addEventListener("click", createTask);
byId("example").addEventListener("click", showExample);
byId("start-over").addEventListener("click", () => location.reload());
byId("ask").addEventListener("pointerdown", stopDemo);
byId("threshold").addEventListener("input", thresholdMoved);
onFilesPasted((files) => {
  const card = focusedCard();
  if (card) card.addFiles(files);
  else askPicture(files);
});
