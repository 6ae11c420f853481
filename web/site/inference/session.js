/** What a worker does for its page: measures a network, or renders photos with it. */

import { timedRuns, warmUp } from "../bench/timing.js";
import { Renderer } from "../pipeline/renderer.js";
import { CheckedNetwork } from "./checked-network.js";
import { Network } from "./network.js";

/** @typedef {(text: string) => void} Progress */

/**
 * A row to measure.
 *
 * @typedef {object} Row
 * @property {import("./network.js").NetworkOptions} network
 * @property {number} min_runs
 * @property {number} min_seconds
 * @property {number} max_warm_up_seconds
 * @property {[number, number]} input_range Values of black and white in the network's input.
 * @property {{url: string, count: number} | null} photos Bytes of the network's inputs; null only times it.
 */

/** The state of a worker. */
export class Session {
  constructor() {
    /** @type {Network | CheckedNetwork | null} */
    this.network = null;
    /** @type {Renderer | null} */
    this.renderer = null;
  }

  /**
   * @param {string} task
   * @param {any} given
   * @param {Progress} progress
   * @returns {Promise<{value: unknown, transfer?: Transferable[]}>}
   */
  async do(task, given, progress) {
    if (task === "measure") return measure(given, progress);
    if (task === "open") {
      const start = performance.now();
      const network = await CheckedNetwork.open(given.network, given.check);
      this.network = network;
      this.renderer = new Renderer(network, given.model);
      const { device, notes, checked } = network;
      return { value: { device, notes, checked, load_ms: performance.now() - start } };
    }
    if (!this.renderer || !this.network) throw new Error(`${task} comes after open`);
    if (task === "time") return { value: await timedRuns(given.runs, 0, timer(this.network, [0, 1])) };
    if (task === "render") {
      const rendered = await this.renderer.render(given, progress);
      // The device may be another than at the start.
      const { device, notes } = this.network;
      return { value: { ...rendered, device, notes }, transfer: [rendered.rgba.buffer] };
    }
    const value = this.renderer.join(given.strength);
    return { value, transfer: [value.rgba.buffer] };
  }
}

/**
 * Times a network, and runs it on the photos.
 *
 * @param {Row} row
 * @param {Progress} progress
 */
async function measure(row, progress) {
  const { network: options } = row;
  progress("loading");
  const start = performance.now();
  const network = await Network.open(options);
  const loadMs = performance.now() - start;
  const size = options.input.shape.reduce((product, side) => product * side, 1);
  const run = timer(network, row.input_range);
  progress("warming up");
  const warm = await warmUp(row.max_warm_up_seconds, run);
  progress("timing");
  const times = await timedRuns(row.min_runs, row.min_seconds, run);
  const outputs = row.photos ? await runPhotos(network, row, size, progress) : null;
  const value = {
    ranOn: { delegate: network.delegate, device: network.device },
    notes: network.notes,
    load_ms: loadMs,
    first_inference_ms: warm[0],
    warm_up_runs: warm.length,
    runs_ms: times,
    outputs,
  };
  return { value, transfer: outputs ? [outputs.buffer] : [] };
}

/**
 * Returns what runs a network once, on noise, and tells the milliseconds: writing the input and reading the output included.
 *
 * @param {Network | CheckedNetwork} network
 * @param {[number, number]} range Values of black and white in the input.
 */
function timer(network, [low, high]) {
  const size = network.options.input.shape.reduce((product, side) => product * side, 1);
  const noise = Float32Array.from({ length: size }, () => low + (high - low) * Math.random());
  return async () => {
    const start = performance.now();
    await network.run(noise);
    return performance.now() - start;
  };
}

/**
 * @param {Network} network
 * @param {Row} row
 * @param {number} size Number of values of one input.
 * @param {Progress} progress
 */
async function runPhotos(network, row, size, progress) {
  const { url, count } = /** @type {{url: string, count: number}} */ (row.photos);
  const bytes = new Uint8Array(await (await fetch(url)).arrayBuffer());
  if (bytes.length !== count * size) throw new Error(`${count} photos of ${size} bytes were asked for; reload the page`);
  const [low, high] = row.input_range;
  const outputSize = network.options.output.shape.reduce((product, side) => product * side, 1);
  const outputs = new Float32Array(count * outputSize);
  for (let i = 0; i < count; i++) {
    progress(`photo ${i + 1} of ${count}`);
    const unit = Float32Array.from(bytes.subarray(i * size, (i + 1) * size), (value) => value / 255);
    const values = low === 0 && high === 1 ? unit : unit.map((value) => low + (high - low) * value);
    outputs.set(await network.run(values), i * outputSize);
  }
  return outputs;
}
