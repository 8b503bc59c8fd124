// Picture files that the visitor chooses, drops or pastes.

import { showError } from "./messages.js";

/** Call `take(files)` with the files chosen in an `<input type="file">`. */
export function onFilesChosen(input, take) {
  input.addEventListener("change", () => {
    take([...input.files]); // a copy: resetting the input empties its list
    input.value = ""; // so that the same file can be chosen again
  });
}

/** Call `take(files)` with the files dropped on an element. */
export function onFilesDropped(element, take) {
  element.addEventListener("dragover", (event) => {
    event.preventDefault();
    element.classList.add("dropping");
  });
  element.addEventListener("dragleave", () => element.classList.remove("dropping"));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    element.classList.remove("dropping");
    const files = [...event.dataTransfer.files];
    if (files.length) take(files);
  });
}

/** Call `take(files)` with the files pasted anywhere on the page. */
export function onFilesPasted(take) {
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    take(files);
  });
}

/** The file as a bitmap, or null if the browser cannot read it. */
export function readPicture(file) {
  return createImageBitmap(file).catch(() => null);
}

export function showUnreadable() {
  showError("That file is not a picture this browser can read.");
}
