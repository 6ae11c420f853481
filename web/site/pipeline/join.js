/**
 * Joins a network's output with its photo at the photo's size: `bokeh_runtime.imaging.detail_fusion`.
 *
 *     result = upscale(network output) + focus * (photo - upscale(network input))
 */

import {
  BAND_RADIUS_PX,
  BAND_SIGMA_PX,
  BLURRED_BELOW,
  IN_FOCUS_ABOVE,
  NOISE,
  WIDE_NOISE,
  WIDE_WINDOW_PX,
  WINDOW_PX,
} from "./contract.js";
import { floatImage, mirrored, reflected, sameShape, toUnit } from "./images.js";
import { addRows, areaTaps, enlargeTaps, resize, scale } from "./resample.js";

/** @typedef {import("./images.js").FloatImage} FloatImage */
/** @typedef {import("./images.js").Photo} Photo */

/**
 * Joins a network's output with its photo.
 *
 * @param {Photo} photo
 * @param {FloatImage} networkOutput For all of the photo, in 0 to 1.
 * @param {FloatImage | null} networkInput The photo at the size of `networkOutput`; resized here if it has another.
 * @param {number} strength 1 is the network's output, 0 the photo.
 * @returns {Photo} The result, of the photo's size.
 */
export function join(photo, networkOutput, networkInput, strength) {
  let output = networkOutput;
  let input = networkInput;
  if (output.height >= photo.height || output.width >= photo.width) {
    output = resize(output, areaTaps(output.width, photo.width), areaTaps(output.height, photo.height));
    input = toUnit(photo);
  } else if (!input || !sameShape(input, output)) {
    input = scale(photo, output.height, output.width, "area");
  }
  const weights = focusMask(input, output);
  // Upscaling is linear, so the images are mixed at the network's size, where that is cheaper.
  const mixed = floatImage(output.height, output.width, 3);
  const blurred = floatImage(output.height, output.width, 3);
  for (let i = 0; i < mixed.values.length; i++) {
    mixed.values[i] = 255 * (strength * output.values[i] + (1 - strength) * input.values[i]);
    blurred.values[i] = 255 * input.values[i];
  }
  for (let i = 0; i < weights.values.length; i++) {
    weights.values[i] = strength * weights.values[i] + (1 - strength);
  }
  return enlarge(photo, mixed, blurred, weights);
}

/**
 * How far each pixel is in focus: the slope of a least-squares fit of the output's detail to the input's, over a window,
 * through a smooth step. See `bokeh_runtime.imaging.detail_fusion.focus_mask`.
 *
 * @param {FloatImage} networkInput RGB in 0 to 1
 * @param {FloatImage} networkOutput Of the same shape and range.
 * @returns {FloatImage} `[height, width, 1]`, 0 (blurred) to 1 (in focus)
 */
export function focusMask(networkInput, networkOutput) {
  const [before, after] = [detail(networkInput).values, detail(networkOutput).values];
  const product = floatImage(networkInput.height, networkInput.width, 1);
  const power = floatImage(networkInput.height, networkInput.width, 1);
  for (let i = 0; i < product.values.length; i++) {
    const at = 3 * i;
    product.values[i] = before[at] * after[at] + before[at + 1] * after[at + 1] + before[at + 2] * after[at + 2];
    power.values[i] = before[at] ** 2 + before[at + 1] ** 2 + before[at + 2] ** 2;
  }
  const [wideProduct, widePower] = [mean(product, WIDE_WINDOW_PX), mean(power, WIDE_WINDOW_PX)];
  const [nearProduct, nearPower] = [mean(product, WINDOW_PX), mean(power, WINDOW_PX)];
  const focus = floatImage(networkInput.height, networkInput.width, 1);
  for (let i = 0; i < focus.values.length; i++) {
    const wide = clamp(wideProduct.values[i] / (widePower.values[i] + WIDE_NOISE));
    const kept = (nearProduct.values[i] + NOISE * wide) / (nearPower.values[i] + NOISE);
    const step = clamp((kept - BLURRED_BELOW) / (IN_FOCUS_ABOVE - BLURRED_BELOW));
    focus.values[i] = step * step * (3 - 2 * step);
  }
  return focus;
}

/**
 * Enlarges the images to the photo's size, and adds the photo's detail.
 *
 * @param {Photo} photo
 * @param {FloatImage} mixed The network's output, mixed with its input, in 0 to 255.
 * @param {FloatImage} blurred The network's input in 0 to 255.
 * @param {FloatImage} weights Of the photo's detail, `[height, width, 1]`.
 * @returns {Photo}
 */
function enlarge(photo, mixed, blurred, weights) {
  const { height, width } = photo;
  const cubicAcross = flat(enlargeTaps(mixed.width, width, "cubic"), 4);
  const linearAcross = flat(enlargeTaps(mixed.width, width, "linear"), 2);
  const cubicDown = enlargeTaps(mixed.height, height, "cubic");
  const linearDown = enlargeTaps(mixed.height, height, "linear");
  const result = new Uint8ClampedArray(photo.rgba.length);
  const rows = { mixed: new Float32Array(mixed.width * 3), blurred: new Float32Array(mixed.width * 3) };
  const weightRow = new Float32Array(mixed.width);
  for (let row = 0; row < height; row++) {
    for (const line of [rows.mixed, rows.blurred, weightRow]) line.fill(0);
    addRows(mixed, cubicDown[row], rows.mixed);
    addRows(blurred, cubicDown[row], rows.blurred);
    addRows(weights, linearDown[row], weightRow);
    let at = row * width * 4;
    for (let column = 0; column < width; column++, at += 4) {
      const near = linearAcross.first[column];
      const weight =
        linearAcross.weights[2 * column] * weightRow[near] +
        linearAcross.weights[2 * column + 1] * weightRow[near + 1 < mixed.width ? near + 1 : near];
      const from = 3 * cubicAcross.first[column];
      for (let channel = 0; channel < 3; channel++) {
        let value = 0;
        let low = 0;
        for (let k = 0; k < 4; k++) {
          const tap = cubicAcross.weights[4 * column + k];
          if (tap === 0) continue; // the taps beyond an edge
          const source = from + 3 * k + channel;
          value += tap * rows.mixed[source];
          low += tap * rows.blurred[source];
        }
        result[at + channel] = value + weight * (photo.rgba[at + channel] - low);
      }
      result[at + 3] = photo.rgba[at + 3];
    }
  }
  return { height, width, rgba: result };
}

/**
 * Taps side by side in one array, which the innermost loop reads faster than objects.
 *
 * @param {import("./resample.js").Taps[]} taps
 * @param {number} count
 */
function flat(taps, count) {
  const weights = new Float32Array(taps.length * count);
  taps.forEach((tap, i) => weights.set(tap.weights, i * count));
  return { first: Int32Array.from(taps, (tap) => tap.first), weights };
}

/**
 * What a Gaussian blur takes away; the edges mirror without being shown twice.
 *
 * @param {FloatImage} image
 */
function detail(image) {
  const raw = Array.from({ length: 2 * BAND_RADIUS_PX + 1 }, (_, i) =>
    Math.exp(-((i - BAND_RADIUS_PX) ** 2) / (2 * BAND_SIGMA_PX ** 2)),
  );
  const sum = raw.reduce((total, value) => total + value, 0);
  const blurred = filtered(image, Float32Array.from(raw, (value) => value / sum), reflected);
  for (let i = 0; i < blurred.values.length; i++) {
    blurred.values[i] = image.values[i] - blurred.values[i];
  }
  return blurred;
}

/**
 * @param {FloatImage} image
 * @param {number} window
 */
function mean(image, window) {
  return filtered(image, new Float32Array(window).fill(1 / window), mirrored);
}

/**
 * Applies a symmetric kernel across and down.
 *
 * @param {FloatImage} image
 * @param {Float32Array} kernel
 * @param {(index: number, size: number) => number} edge The pixel that stands for one outside.
 */
function filtered(image, kernel, edge) {
  const { height, width, channels } = image;
  const reach = kernel.length >> 1;
  const line = width * channels;
  const wide = floatImage(height, width, channels);
  for (let column = 0; column < width; column++) {
    for (let k = 0; k < kernel.length; k++) {
      const from = edge(column + k - reach, width) * channels;
      const to = column * channels;
      for (let row = 0; row < height; row++) {
        for (let channel = 0; channel < channels; channel++) {
          wide.values[row * line + to + channel] += kernel[k] * image.values[row * line + from + channel];
        }
      }
    }
  }
  const result = floatImage(height, width, channels);
  for (let row = 0; row < height; row++) {
    for (let k = 0; k < kernel.length; k++) {
      const from = edge(row + k - reach, height) * line;
      for (let i = 0; i < line; i++) result.values[row * line + i] += kernel[k] * wide.values[from + i];
    }
  }
  return result;
}

/** @param {number} value */
function clamp(value) {
  return Math.min(1, Math.max(0, value));
}
