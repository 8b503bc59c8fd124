// Picture files that the visitor chooses, drops or pastes, with the folders that they lie in.

import { make } from "./dom.js";

const PICTURE = /\.(png|apng|jpe?g|jpe|jfif|mpo|webp|gif|bmp|dib|tiff?|avifs?|heic|heif|hif)$/i;
const HIDDEN = /^\.|^thumbs\.db$|^desktop\.ini$|^__macosx$/i;
const MOST_FILES = 10_000;
const DEEPEST = 8;
const LONGEST = 100; // characters of a label

/** Call `take(found)` with what was chosen in an `<input type="file">`: a list of {file, folders}. */
export function onFilesChosen(input, take) {
  input.addEventListener("change", () => {
    const files = [...input.files]; // a copy: resetting the input empties its list
    input.value = ""; // so that the same file can be chosen again
    take(files.map((file) => ({ file, folders: file.webkitRelativePath.split("/").slice(0, -1) })));
  });
}

/** Call `take(found)` with the pictures of a folder that is chosen after a press of the button. */
export function onFolderChosen(button, take) {
  const input = make("input", { type: "file", webkitdirectory: true, multiple: true });
  onFilesChosen(input, take);
  button.addEventListener("click", () => input.click());
}

/**
 * Take what is dropped anywhere on the page, so that a file never replaces the page. `zoneOf(element)` is the element
 * to highlight; `take(found, zone)` gets the files, and none for a drop without files, such as a link.
 */
export function onDropped(zoneOf, take) {
  let zone = null;
  const highlight = (next) => {
    if (next === zone) return;
    zone?.classList.remove("dropping");
    next?.classList.add("dropping");
    zone = next;
  };
  const isText = (event) => !event.dataTransfer.types.includes("Files") && event.target.matches?.("input, textarea");
  document.addEventListener("dragover", (event) => {
    if (isText(event)) return;
    event.preventDefault();
    highlight(zoneOf(event.target));
  });
  document.addEventListener("dragleave", (event) => !event.relatedTarget && highlight(null));
  document.addEventListener("drop", async (event) => {
    if (isText(event)) return;
    event.preventDefault();
    const target = zoneOf(event.target);
    highlight(null);
    take(await filesIn(event.dataTransfer), target);
  });
}

/** Call `take(found)` with the files pasted anywhere on the page. */
export function onFilesPasted(take) {
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    take(files.map((file) => ({ file, folders: [] })));
  });
}

async function filesIn(transfer) {
  // Entries and files must be taken before the first await, after which the browser clears them.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = [...transfer.files].map((file) => ({ file, folders: [] }));
  if (!entries.some((entry) => entry.isDirectory)) return files;
  const found = [];
  for (const entry of entries) await collect(entry, [], found);
  return found;
}

async function collect(entry, folders, found) {
  if (HIDDEN.test(entry.name) || found.length >= MOST_FILES) return;
  if (entry.isFile) {
    const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null))); // null: it cannot be opened
    if (file) found.push({ file, folders });
    return;
  }
  if (folders.length >= DEEPEST) return;
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (some.length === 0) return;
    for (const each of some) await collect(each, [...folders, entry.name], found);
  }
}

/** Part what was found into pictures, in the order of their names, and the number of other files. */
export function sift(found) {
  const isHidden = ({ file, folders }) => HIDDEN.test(file.name) || folders.some((folder) => HIDDEN.test(folder));
  const visible = found.filter((each) => !isHidden(each));
  const pictures = visible.filter(({ file }) => file.size > 0 && mayBePicture(file));
  const path = ({ file, folders }) => [...folders, file.name].join("/");
  pictures.sort((one, other) => path(one).localeCompare(path(other), undefined, { numeric: true }));
  return { pictures, others: visible.length - pictures.length };
}

/** A file without type and suffix may be one: only reading it will tell. */
const mayBePicture = ({ type, name }) =>
  PICTURE.test(name) || (type.startsWith("image/") && !type.includes("svg")) || (type === "" && !name.includes("."));

/** The label that a picture has by the folder that it lies in, as the server spells it; "" if it lies in none. */
export const labelOf = ({ folders }) => [...(folders.at(-1) ?? "").trim().normalize("NFC")].slice(0, LONGEST).join("").trim();

/** The folder that each picture lies in, as a map from its name to files; "" for those that lie in none. */
export function byFolder(pictures) {
  const groups = new Map();
  for (const each of pictures) {
    const name = labelOf(each);
    groups.set(name, [...(groups.get(name) ?? []), each.file]);
  }
  return groups;
}
