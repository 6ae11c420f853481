/** The page of `bokeh-bench study web`: time to the first picture, and our runs beside those of a bare loop. */

import { drawPhoto, readPhoto } from "../demo/photos.js";
import { InferenceWorker } from "../inference/client.js";

const site = new URL("../", import.meta.url);

main()
  .then((result) => send({ failure: "", ...result }))
  .catch((error) => send({ failure: String(error) }));

async function main() {
  const { models, rounds, runs } = await (await fetch(new URL("study.json", site))).json();
  const firstPictureMs = await firstPicture(models[0]);
  const blocks = [];
  for (const model of models) blocks.push(await compare(model, rounds, runs));
  return { first_picture_ms: firstPictureMs, blocks, user_agent: navigator.userAgent };
}

/**
 * What the demo page does, from the start of loading it to the result in a canvas.
 *
 * @param {import("../demo/demo.js").SiteModel} model
 */
async function firstPicture(model) {
  const worker = new InferenceWorker();
  await worker.call("open", opening(model, null));
  const canvas = document.createElement("canvas");
  drawPhoto(canvas, await readPhoto(await (await fetch(new URL("photo.jpg", site))).blob()));
  const { width, height } = canvas;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const { data: rgba } = context.getImageData(0, 0, width, height);
  const given = { photo: { width, height, rgba }, strength: 1 };
  const result = await worker.call("render", given, { transfer: [rgba.buffer] });
  context.putImageData(new ImageData(result.rgba, width), 0, 0);
  document.body.append(canvas);
  const time = performance.now();
  worker.end();
  canvas.remove();
  await fetch(new URL("api/first", site), { method: "POST", body: "" });
  return time;
}

/**
 * Blocks of run times, ours and a bare loop's in turns, with one thread.
 *
 * @param {import("../demo/demo.js").SiteModel} model
 * @param {number} rounds
 * @param {number} runs
 */
async function compare(model, rounds, runs) {
  const ours = new InferenceWorker();
  await ours.call("open", opening(model, 1));
  const bare = bareWorker();
  await bare.send({ open: { url: new URL(model.file, site).href, shape: model.input.shape } });
  await ours.call("time", { runs: 2 });
  await bare.send({ runs: 2 });
  const blocks = [];
  for (let i = 0; i < rounds; i++) {
    // In turns, so that a change of the machine's speed favours neither.
    const first = i % 2 ? await bare.send({ runs }) : null;
    const mine = await ours.call("time", { runs });
    blocks.push({ ours: mine, bare: first ?? (await bare.send({ runs })) });
  }
  ours.end();
  bare.end();
  return blocks;
}

/**
 * @param {import("../demo/demo.js").SiteModel} model
 * @param {number | null} threads
 */
function opening(model, threads) {
  const { input, output, output_index, resampling, input_range, output_range } = model;
  const url = new URL(model.file, site).href;
  const network = { url, input, output, output_index, delegate: "cpu", threads, precision: "float32" };
  return { network, model: { resampling, input_range, output_range } };
}

function bareWorker() {
  const worker = new Worker(new URL("bare-loop.js", import.meta.url));
  return {
    /** @param {unknown} message @returns {Promise<any>} */
    send: (message) =>
      new Promise((resolve, reject) => {
        worker.onmessage = ({ data }) => resolve(data);
        worker.onerror = (event) => reject(new Error(event.message));
        worker.postMessage(message);
      }),
    end: () => worker.terminate(),
  };
}

/** @param {unknown} result */
async function send(result) {
  await fetch(new URL("api/result", site), { method: "POST", body: JSON.stringify(result) });
  /** @type {HTMLElement} */ (document.getElementById("status")).textContent = "Done.";
}
