/** The way of a photo through a network: the same as `bokeh_runtime.BokehModel.render`. */

import { Frame, floatImage } from "./images.js";
import { join } from "./join.js";
import { scale } from "./resample.js";

/** @typedef {import("./images.js").FloatImage} FloatImage */
/** @typedef {import("./images.js").Photo} Photo */

/**
 * What a model's metadata says of its images.
 *
 * @typedef {{resampling: string, input_range: [number, number], output_range: [number, number]}} ModelImages
 */

/**
 * What runs a network: all values in, all values out, in the network's own ranges.
 *
 * @typedef {{options: {input: {shape: number[]}, output: {shape: number[]}}, run: (values: Float32Array) => Promise<Float32Array>}} Runner
 */

/** Renders photos, and keeps the last one to join it at another strength. */
export class Renderer {
  /**
   * @param {Runner} network Of RGB images.
   * @param {ModelImages} model
   */
  constructor(network, model) {
    this.network = network;
    this.model = model;
    /** @type {{photo: Photo, networkInput: FloatImage, networkOutput: FloatImage} | null} */
    this.last = null;
  }

  /**
   * Renders a photo with a shallow depth of field.
   *
   * @param {{photo: Photo, strength: number}} given
   * @param {(text: string) => void} progress
   */
  async render({ photo, strength }, progress) {
    const start = performance.now();
    progress("preparing the photo");
    const [, height, width] = this.network.options.input.shape;
    const frame = Frame.within(photo.height, photo.width, height, width);
    const networkInput = scale(photo, frame.height, frame.width, this.model.resampling);
    const values = fromUnit(frame.pad(networkInput, height, width).values, this.model.input_range);
    const prepared = performance.now();
    progress("running the network");
    const raw = await this.network.run(values);
    const inferred = performance.now();
    const networkOutput = cropped(raw, this.network.options.output.shape, height, frame, this.model.output_range);
    progress("joining at full size");
    this.last = { photo, networkInput, networkOutput };
    const joined = this.join(strength);
    const timings = {
      prepare_ms: prepared - start,
      infer_ms: inferred - prepared,
      fuse_ms: performance.now() - inferred,
    };
    return { ...joined, timings };
  }

  /**
   * The last photo at another strength.
   *
   * @param {number} strength
   */
  join(strength) {
    if (!this.last) throw new Error("no photo was rendered");
    return join(this.last.photo, this.last.networkOutput, this.last.networkInput, strength);
  }
}

/**
 * The part of a network's output that shows the photo, in 0 to 1.
 *
 * @param {Float32Array} raw
 * @param {number[]} shape
 * @param {number} networkHeight
 * @param {Frame} frame
 * @param {[number, number]} range
 */
export function cropped(raw, shape, networkHeight, frame, range) {
  // Checked before the output is clipped, since infinity would become white.
  if (!raw.every(Number.isFinite)) {
    throw new Error("the network's output contains NaN or infinity; choose another device, or convert the model again");
  }
  const [low, high] = range;
  const output = floatImage(shape[1], shape[2], shape[3], raw);
  const inside = frame.scaled(output.height / networkHeight).crop(output);
  for (let i = 0; i < inside.values.length; i++) {
    inside.values[i] = Math.min(1, Math.max(0, (inside.values[i] - low) / (high - low)));
  }
  return inside;
}

/**
 * @param {Float32Array} values In 0 to 1.
 * @param {[number, number]} range
 */
function fromUnit(values, [low, high]) {
  return low === 0 && high === 1 ? values : values.map((value) => low + (high - low) * value);
}
