// The page of an exported classifier: pictures that are chosen, dropped or drawn, and their answers.
const MOST_SHOWN = 5; // classes of each answer
const FOREIGN = 0.05; // pictures that are less known are probably of none of the classes
const byId = (id) => document.getElementById(id);

let classifier, about;
let turn = Promise.resolve(); // one picture after the other

async function start() {
  byId("notice").textContent = "Loading…";
  for (const name of ["ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"]) {
    const found = await fetch(`onnxruntime/${name}`, { method: "HEAD" }).catch(() => null);
    if (!found?.ok) {
      byId("notice").hidden = true;
      byId("missing").hidden = false;
      return;
    }
  }
  try {
    classifier = await import("./classifier.js");
    about = await classifier.load();
  } catch (error) {
    byId("notice").textContent = `The classifier could not be loaded: ${error.message}`;
    return;
  }
  byId("title").textContent = document.title = about.name || `${about.labels.length} classes`;
  byId("notice").hidden = true;
  byId("ask").hidden = false;
  byId("drawing").hidden = about.input !== "drawings";
  setUpPad();
}

function ask(files) {
  for (const file of files) turn = turn.then(() => answer(file));
}

async function answer(file, row = document.createElement("li")) {
  const picture = document.createElement("img");
  picture.alt = "";
  picture.src = URL.createObjectURL(file);
  picture.onload = picture.onerror = () => URL.revokeObjectURL(picture.src);
  const found = element("div", "found");
  row.replaceChildren(picture, found);
  if (!row.isConnected) byId("answers").prepend(row);
  if (file.name) found.append(element("div", "file", file.name));
  try {
    const { probabilities, known } = await classifier.classify(file);
    if (probabilities.some(Number.isNaN)) {
      found.append(element("div", "label", "No drawing found: nothing stands out from the background."));
      return;
    }
    const order = probabilities.map((_, n) => n).sort((a, b) => probabilities[b] - probabilities[a]);
    found.append(element("div", "label", about.labels[order[0]]));
    if (known !== null && known < FOREIGN) found.append(element("div", "foreign", "Probably none of these classes."));
    for (const n of order.slice(0, MOST_SHOWN)) found.append(share(about.labels[n], probabilities[n]));
  } catch (error) {
    found.append(element("div", "label", `This picture cannot be read: ${error.message}`));
  }
}

function share(label, probability) {
  const row = element("div", "share");
  const meter = element("meter");
  meter.value = probability;
  row.append(element("span", "", label), meter, element("span", "", `${(100 * probability).toFixed(1)} %`));
  return row;
}

function element(kind, className = "", text = "") {
  const made = document.createElement(kind);
  made.className = className;
  made.textContent = text;
  return made;
}

function setUpPad() {
  const pad = byId("pad");
  const context = pad.getContext("2d");
  const row = document.createElement("li");
  const clear = () => {
    context.fillStyle = "#fff";
    context.fillRect(0, 0, pad.width, pad.height);
    row.remove();
  };
  const at = (event) => {
    const box = pad.getBoundingClientRect();
    const scale = pad.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  };
  Object.assign(context, { lineWidth: 10, lineCap: "round", lineJoin: "round" });
  clear();
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    context.beginPath();
    context.moveTo(...at(event));
    context.lineTo(...at(event));
    context.stroke();
  });
  pad.addEventListener("pointermove", (event) => {
    if (!event.buttons) return;
    context.lineTo(...at(event));
    context.stroke();
  });
  pad.addEventListener("pointerup", () => pad.toBlob((drawn) => (turn = turn.then(() => answer(drawn, row)))));
  byId("clear").addEventListener("click", clear);
}

byId("files").addEventListener("change", (event) => {
  ask(event.target.files);
  event.target.value = "";
});
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
addEventListener("drop", (event) => classifier && ask(event.dataTransfer.files));
start();
