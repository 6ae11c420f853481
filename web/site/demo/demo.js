/** The demo page: a photo, its result under a slider, and what to render it with. */

import { InferenceWorker } from "../inference/client.js";
import { canvasBlob, drawPhoto, readPhoto, release, sizedContext } from "./photos.js";
import { installOffline } from "./offline.js";

/**
 * A model as `models.json` describes it.
 *
 * @typedef {object} SiteModel
 * @property {string} name
 * @property {string} file
 * @property {string} about
 * @property {import("../inference/network.js").TensorInfo} input
 * @property {import("../inference/network.js").TensorInfo} output
 * @property {number} output_index
 * @property {number} total_ops
 * @property {boolean} float_sums Whether the file has convolutions, which GPUs compute in floats.
 * @property {string | null} reference
 * @property {[number, number]} input_range
 * @property {[number, number]} output_range
 * @property {string} resampling
 */

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @returns {T}
 */
function element(id) {
  return /** @type {T} */ (document.getElementById(id));
}

const page = {
  before: /** @type {HTMLCanvasElement} */ (element("before")),
  after: /** @type {HTMLCanvasElement} */ (element("after")),
  strength: /** @type {HTMLInputElement} */ (element("strength")),
  split: /** @type {HTMLInputElement} */ (element("split")),
  model: /** @type {HTMLSelectElement} */ (element("model")),
  device: /** @type {HTMLSelectElement} */ (element("device")),
  save: /** @type {HTMLButtonElement} */ (element("save")),
};

/** @type {SiteModel[]} */
let models = [];
/** @type {InferenceWorker | null} */
let worker = null;
/** @type {Promise<{device: string, notes: string[], checked: boolean, load_ms: number}> | null} */
let opening = null;
/** Files of models whose picture the GPU has drawn right on this page. */
const checkedFiles = new Set();
let photoName = "";
/** Counts what was asked for, so that what is no longer wanted shows nothing. */
let request = 0;
/**
 * The photo that is being read, which goes on if another model is chosen.
 *
 * @type {File | null}
 */
let reading = null;

for (const id of ["choose", "take"]) {
  const input = /** @type {HTMLInputElement} */ (element(id));
  input.addEventListener("change", () => {
    const file = input.files?.[0];
    input.value = ""; // the same file may be chosen again
    if (file) show(file);
  });
}
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  const file = event.dataTransfer?.files[0];
  if (file) show(file);
});
element("controls").addEventListener("submit", (event) => event.preventDefault());
page.split.addEventListener("input", showSplit);
page.strength.addEventListener("input", showStrength);
for (const select of [page.model, page.device]) select.addEventListener("change", () => reopen());
page.save.addEventListener("click", () => {
  const current = request;
  save().catch((error) => current === request && fail(error));
});

start().catch((error) => fail(error));

async function start() {
  showSplit();
  const offline = await installOffline(
    (text) => (element("offline").textContent = text),
    () => Boolean(reading || photoName),
  );
  if (offline.reloads) return;
  const answer = await fetch("models.json");
  if (!answer.ok) throw new Error("the list of models could not be loaded; reload the page");
  models = await answer.json();
  page.model.replaceChildren(...models.map((model, i) => new Option(`${model.name} (${model.about})`, String(i))));
  await reopen();
}

/** Opens the chosen model on the chosen device, and renders the photo again if there is one. */
async function reopen() {
  const current = ++request;
  clearError();
  worker?.end();
  const model = models[Number(page.model.value)];
  const opened = new InferenceWorker();
  worker = opened;
  page.save.disabled = true; // the new worker has no result yet
  working("Loading the network…");
  const network = {
    url: new URL(model.file, location.href).href,
    input: model.input,
    output: model.output,
    output_index: model.output_index,
    delegate: page.device.value,
    threads: null,
    precision: "float32",
  };
  const { resampling, input_range, output_range, total_ops, float_sums } = model;
  const reference = model.reference && new URL(model.reference, location.href).href;
  const check = checkedFiles.has(model.file) ? null : { input_range, output_range, total_ops, float_sums, reference };
  opening = opened.call("open", { network, check, model: { resampling, input_range, output_range } });
  try {
    const about = await opening;
    if (about.checked) checkedFiles.add(model.file);
    if (worker !== opened) return;
    details({ Model: model.name, "Runs on": about.device, Loaded: milliseconds(about.load_ms), Notes: about.notes.join("; ") });
    if (current !== request || reading) return;
    if (photoName) await render(current);
    else idle("Ready. Choose a photo.");
  } catch (error) {
    if (current === request) fail(error);
  }
}

/** @param {File} file */
async function show(file) {
  let current = ++request;
  clearError();
  working("Reading the photo…");
  reading = file;
  try {
    const bitmap = await readPhoto(file);
    if (reading !== file) return bitmap.close();
    reading = null;
    current = ++request;
    page.save.disabled = true;
    photoName = ""; // the earlier photo is gone even if this one cannot be drawn
    element("viewer").hidden = true;
    release(page.after);
    try {
      drawPhoto(page.before, bitmap);
    } finally {
      bitmap.close();
    }
    element("viewer").hidden = false;
    photoName = file.name.replace(/\.[^.]*$/, "") || "photo";
    await render(current);
  } catch (error) {
    if (reading === file) reading = null;
    else if (current !== request) return;
    fail(error);
  }
}

/** @param {number} current */
async function render(current) {
  const used = worker;
  if (!used || !opening) return;
  if (used.ended !== null) return reopen(); // which renders the photo
  page.save.disabled = true;
  working("Loading the network…");
  await opening;
  if (current !== request) return;
  const { width, height } = page.before;
  const context = /** @type {CanvasRenderingContext2D} */ (page.before.getContext("2d"));
  const { data: rgba } = context.getImageData(0, 0, width, height);
  const result = await used.call(
    "render",
    { photo: { width, height, rgba }, strength: 1 },
    { transfer: [rgba.buffer], progress: (text) => current === request && working(`${capital(text)}…`) },
  );
  if (current !== request) return;
  put(result.rgba);
  showStrength();
  const { prepare_ms: prepare, infer_ms: infer, fuse_ms: fuse } = result.timings;
  details({
    "Runs on": result.device,
    Notes: result.notes.join("; "),
    Photo: `${width} x ${height}`,
    Prepare: milliseconds(prepare),
    Network: milliseconds(infer),
    "Join at full size": milliseconds(fuse),
  });
  page.save.disabled = false;
  idle(`Done in ${milliseconds(prepare + infer + fuse)}.`);
}

/** @param {Uint8ClampedArray} rgba */
function put(rgba) {
  const { width, height } = page.before;
  const pixels = /** @type {Uint8ClampedArray<ArrayBuffer>} */ (rgba);
  sizedContext(page.after, width, height).putImageData(new ImageData(pixels, width), 0, 0);
}

/** Joining is linear in the strength: on the screen the result may be blended with the photo below it. */
function showStrength() {
  const strength = Number(page.strength.value) / 100;
  element("strength-text").textContent = `${page.strength.value} %`;
  page.after.style.opacity = String(strength);
}

function showSplit() {
  element("stage").style.setProperty("--split", `${page.split.value}%`);
}

/** Saves the picture at the chosen strength and the photo's size. */
async function save() {
  // What is on the screen now, whatever is chosen while it is encoded.
  const [current, used, name] = [request, worker, `${photoName}.bokeh.jpg`];
  const strength = Number(page.strength.value) / 100;
  const canvas = document.createElement("canvas");
  const link = document.createElement("a");
  try {
    const context = sizedContext(canvas, page.after.width, page.after.height);
    if (strength === 1 || !used) context.drawImage(page.after, 0, 0);
    else {
      working("Joining at full size…");
      const { rgba } = await used.call("join", { strength });
      context.putImageData(new ImageData(rgba, canvas.width), 0, 0);
    }
    link.href = URL.createObjectURL(await canvasBlob(canvas));
  } finally {
    release(canvas);
  }
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  if (current === request) idle(`Saved as ${name}.`);
}

/** @param {Record<string, string>} entries */
function details(entries) {
  const list = element("details");
  for (const [name, text] of Object.entries(entries)) {
    let value = [...list.querySelectorAll("dd")].find((one) => one.dataset.name === name);
    if (!value) {
      const term = document.createElement("dt");
      term.textContent = name;
      value = document.createElement("dd");
      value.dataset.name = name;
      list.append(term, value);
    }
    value.textContent = text || "none";
  }
}

/** @param {string} text */
function working(text) {
  element("progress").hidden = false;
  element("status").textContent = text;
  document.body.dataset.state = "working";
}

/** @param {string} text */
function idle(text) {
  element("progress").hidden = true;
  element("status").textContent = text;
  document.body.dataset.state = "idle";
}

/** @param {unknown} error */
function fail(error) {
  idle("");
  const message = error instanceof Error ? error.message : String(error);
  element("error").textContent = capital(message);
  element("error").hidden = false;
  document.body.dataset.state = "failed";
}

function clearError() {
  element("error").hidden = true;
}

/** @param {string} text */
function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** @param {number} value */
function milliseconds(value) {
  return value < 1000 ? `${value.toFixed(0)} ms` : `${(value / 1000).toFixed(1)} s`;
}
