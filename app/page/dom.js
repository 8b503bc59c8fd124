// Small helpers to find and make elements of the page, and to remember small things.

export const byId = (id) => document.getElementById(id);

export const onClick = (id, act) => (byId(id).onclick = act);

export const setText = (id, text) => (byId(id).textContent = text);

export const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

/** The folder that this page is served from: what is kept in the browser belongs to this service only. */
export const FOLDER = new URL(".", document.baseURI).pathname;

/** An element with properties, and with children: elements or texts. */
export function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export const listItem = (text = "") => make("li", { textContent: text });

export const span = (className, text = "") => make("span", { className, textContent: text });

export const makeCanvas = (width, height) => make("canvas", { width, height });

/** A button of this text that calls `onclick()`. */
export const button = (text, onclick, properties = {}) => make("button", { onclick, ...properties }, text);

const VALUES = /^(Arrow(Up|Down)|Home|End|Page(Up|Down)|[^ ])$/; // keys that choose without opening the list

/** Call `act(value)` when something is chosen in a list whose choices are done at once. Keys open the list first. */
export function onChosen(select, act) {
  select.addEventListener("keydown", (event) => {
    if (!VALUES.test(event.key) || event.ctrlKey || event.altKey || event.metaKey || !select.showPicker) return;
    event.preventDefault();
    select.showPicker();
  });
  select.addEventListener("change", () => {
    const { value } = select;
    select.value = "";
    act(value);
  });
}

/** Copy the text of an element, or else select it; the button says which, for a while. */
export async function copyFrom(element, button) {
  const text = element.value ?? element.textContent;
  // Browsers allow the clipboard over HTTPS and on localhost only.
  const isCopied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
  if (element.select) element.select();
  else if (!isCopied) getSelection().selectAllChildren(element);
  button.textContent = isCopied ? "Copied" : "Selected: copy it";
  setTimeout(() => (button.textContent = "Copy"), 2000);
}

/** A random name for a record. Not crypto.randomUUID, which exists only over HTTPS and on localhost. */
export const newId = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** Keep a text in `localStorage` or `sessionStorage`; browsers that allow neither forget it. */
export function remember(storage, name, text) {
  try {
    window[storage].setItem(`leo${FOLDER}${name}`, text);
  } catch {} // blocked or full
}

/** What was kept under this name, or an empty text. */
export function recall(storage, name) {
  try {
    return window[storage].getItem(`leo${FOLDER}${name}`) ?? "";
  } catch {
    return "";
  }
}

/** Let the visitor save content as a file. */
export function saveAs(name, blob) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

export const plural = (count, noun, many = `${noun}s`) => `${count} ${count === 1 ? noun : many}`;
