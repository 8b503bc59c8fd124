// Takes photos with the camera: one at a press, several a second while the button is held.

import { byId, makeCanvas, plural, setText } from "./dom.js";
import { ofPhoto } from "./example.js";
import { shrink } from "./shrink.js";
import { offerUndo } from "./undo.js";

const INTERVAL = 200; // milliseconds between two photos of a burst

let card = null; // the class that the photos are for
let taken = []; // the examples added since the camera was opened
let burst = null; // the timer of a burst

/** Browsers offer a camera over HTTPS and on localhost only. */
export const cameraOffered = () => Boolean(navigator.mediaDevices?.getUserMedia);

export async function openCamera(target) {
  card = target;
  taken = [];
  setText("camera-title", `Photos of ${card.name || "this class"}`);
  setText("camera-note", "Starting the camera…");
  byId("camera-shoot").disabled = true;
  byId("camera").showModal();
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    if (!byId("camera").open) return stop(stream); // closed meanwhile
    byId("camera-video").srcObject = stream;
    await byId("camera-video").play();
    byId("camera-shoot").disabled = false;
    byId("camera-shoot").focus();
    setText("camera-note", "Hold the button, and move a little between photos.");
  } catch (error) {
    byId("camera-note").textContent =
      error.name === "NotAllowedError"
        ? "The browser may not use the camera. Allow it in the address bar, or choose photos from files."
        : "There is no camera that can be used. Choose photos from files.";
  }
}

const stop = (stream) => stream?.getTracks().forEach((track) => track.stop());

async function shoot() {
  const video = byId("camera-video");
  if (!video.videoWidth) return;
  const canvas = makeCanvas(video.videoWidth, video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0);
  const target = card;
  const { blob, drawn } = await shrink(canvas);
  const example = ofPhoto({ blob, drawn, name: "camera.jpg" });
  target.add([example]);
  taken.push(example);
  setText("camera-note", `${plural(taken.length, "photo")} taken.`);
}

function begin() {
  if (burst !== null || byId("camera-shoot").disabled) return;
  shoot();
  burst = setInterval(shoot, INTERVAL);
}

function end() {
  clearInterval(burst);
  burst = null;
}

export function setUpCamera() {
  const button = byId("camera-shoot");
  button.addEventListener("pointerdown", (event) => {
    button.setPointerCapture(event.pointerId);
    begin();
  });
  button.addEventListener("contextmenu", (event) => event.preventDefault()); // a long press on a phone
  for (const ending of ["pointerup", "pointercancel", "keyup", "blur"]) button.addEventListener(ending, end);
  button.addEventListener("keydown", (event) => {
    if (event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    begin();
  });
  byId("camera").addEventListener("close", () => {
    end();
    stop(byId("camera-video").srcObject);
    byId("camera-video").srcObject = null;
    if (!taken.length) return;
    const [target, photos] = [card, taken];
    offerUndo(`Took ${plural(photos.length, "photo")} of ${target.name}`, () => photos.forEach((each) => target.take(each)));
  });
}
