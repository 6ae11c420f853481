/** Resizes images: `bokeh_runtime.imaging.resample`. */

import { BICUBIC_DOWNSCALE_A, BICUBIC_DOWNSCALE_SUPPORT_PX, BICUBIC_UPSCALE_A } from "./contract.js";
import { floatImage } from "./images.js";

/** @typedef {import("./images.js").FloatImage} FloatImage */
/** @typedef {import("./images.js").Photo} Photo */

/**
 * Weights that make a value of one line out of those of another: `weights[i]` belongs to `first + i`.
 *
 * @typedef {{first: number, weights: Float32Array}} Taps
 */

/**
 * The mean over the area that each of `to` values covers of `from`.
 *
 * @param {number} from
 * @param {number} to
 * @returns {Taps[]}
 */
export function areaTaps(from, to) {
  const step = from / to;
  return Array.from({ length: to }, (_, i) => {
    const start = i * step;
    const stop = Math.min(from, start + step);
    const first = Math.min(from - 1, Math.floor(start + 1e-9));
    const last = Math.min(from, Math.max(first + 1, Math.ceil(stop - 1e-9)));
    const covered = [];
    for (let k = first; k < last; k++) covered.push(Math.min(stop, k + 1) - Math.max(start, k));
    return normalized(first, covered);
  });
}

/**
 * Keys' cubic (1981) or a straight line, edges repeated: what OpenCV's `resize` does where it enlarges.
 *
 * @param {number} from
 * @param {number} to
 * @param {"cubic" | "linear"} kind
 * @returns {Taps[]}
 */
export function enlargeTaps(from, to, kind) {
  const reach = kind === "cubic" ? [-1, 0, 1, 2] : [0, 1];
  return Array.from({ length: to }, (_, i) => {
    const centre = ((i + 0.5) * from) / to - 0.5;
    const low = Math.floor(centre);
    const positions = reach.map((k) => Math.min(from - 1, Math.max(0, low + k)));
    const first = positions[0];
    const weights = new Float32Array(positions[positions.length - 1] - first + 1);
    reach.forEach((k, at) => {
      const distance = Math.abs(centre - (low + k));
      weights[positions[at] - first] += kind === "cubic" ? cubic(distance, BICUBIC_UPSCALE_A) : 1 - distance;
    });
    return { first, weights };
  });
}

/**
 * Resizes a photo as the network's training did, without keeping its aspect ratio.
 *
 * @param {Photo} photo
 * @param {number} height
 * @param {number} width
 * @param {string} resampling "area" or "bicubic", for a result that is smaller; bicubic where it enlarges.
 * @returns {FloatImage} RGB in 0 to 1
 */
export function scale(photo, height, width, resampling) {
  const enlarges = height > photo.height || width > photo.width;
  /** @type {(from: number, to: number) => Taps[]} */
  let taps = areaTaps;
  if (enlarges) taps = (from, to) => enlargeTaps(from, to, "cubic");
  else if (resampling === "bicubic") taps = pillowTaps;
  const across = taps(photo.width, width);
  const down = taps(photo.height, height);
  // Pillow rounds to bytes between the two and after them.
  const bytes = resampling === "bicubic" && !enlarges;
  const result = floatImage(height, width, 3);
  const line = new Float32Array(width * 3);
  const sum = new Float64Array(width * 3);
  const rounded = new Uint8ClampedArray(width * 3);
  down.forEach((tap, row) => {
    sum.fill(0);
    tap.weights.forEach((weight, k) => {
      resizeRow(photo, tap.first + k, across, line);
      if (bytes) rounded.set(line);
      const values = bytes ? rounded : line;
      for (let i = 0; i < sum.length; i++) sum[i] += weight * values[i];
    });
    if (bytes) rounded.set(sum);
    const values = bytes ? rounded : sum;
    for (let i = 0; i < values.length; i++) {
      result.values[row * width * 3 + i] = Math.min(1, Math.max(0, values[i] / 255));
    }
  });
  return result;
}

/**
 * Resizes floats, first each row, then the rows.
 *
 * @param {FloatImage} image
 * @param {Taps[]} across
 * @param {Taps[]} down
 * @returns {FloatImage}
 */
export function resize(image, across, down) {
  const { channels } = image;
  const wide = floatImage(image.height, across.length, channels);
  for (let row = 0; row < image.height; row++) {
    across.forEach((tap, column) => {
      for (let channel = 0; channel < channels; channel++) {
        let sum = 0;
        for (let k = 0; k < tap.weights.length; k++) {
          sum += tap.weights[k] * image.values[(row * image.width + tap.first + k) * channels + channel];
        }
        wide.values[(row * across.length + column) * channels + channel] = sum;
      }
    });
  }
  const line = across.length * channels;
  const result = floatImage(down.length, across.length, channels);
  down.forEach((tap, row) => addRows(wide, tap, result.values.subarray(row * line, (row + 1) * line)));
  return result;
}

/**
 * Adds the weighted rows of an image to a line.
 *
 * @param {FloatImage} image
 * @param {Taps} tap
 * @param {Float32Array} line
 */
export function addRows(image, tap, line) {
  const length = image.width * image.channels;
  for (let k = 0; k < tap.weights.length; k++) {
    const from = (tap.first + k) * length;
    const weight = tap.weights[k];
    for (let i = 0; i < length; i++) line[i] += weight * image.values[from + i];
  }
}

/**
 * @param {Photo} photo
 * @param {number} row
 * @param {Taps[]} across
 * @param {Float32Array} line
 */
function resizeRow(photo, row, across, line) {
  const { rgba } = photo;
  const start = row * photo.width * 4;
  for (let column = 0; column < across.length; column++) {
    const { first, weights } = across[column];
    let red = 0;
    let green = 0;
    let blue = 0;
    for (let k = 0, at = start + first * 4; k < weights.length; k++, at += 4) {
      red += weights[k] * rgba[at];
      green += weights[k] * rgba[at + 1];
      blue += weights[k] * rgba[at + 2];
    }
    line[column * 3] = red;
    line[column * 3 + 1] = green;
    line[column * 3 + 2] = blue;
  }
}

/**
 * Pillow's bicubic, which widens its kernel where it shrinks.
 *
 * @param {number} from
 * @param {number} to
 * @returns {Taps[]}
 */
function pillowTaps(from, to) {
  const step = from / to;
  const widened = Math.max(1, step);
  const support = BICUBIC_DOWNSCALE_SUPPORT_PX * widened;
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * step;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(from, Math.trunc(centre + support + 0.5));
    const weights = [];
    for (let k = first; k < last; k++) {
      weights.push(cubic(Math.abs((k - centre + 0.5) / widened), BICUBIC_DOWNSCALE_A));
    }
    return normalized(first, weights);
  });
}

/**
 * @param {number} first
 * @param {number[]} weights
 * @returns {Taps}
 */
function normalized(first, weights) {
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return { first, weights: Float32Array.from(weights, (weight) => weight / sum) };
}

/**
 * @param {number} x
 * @param {number} a
 */
function cubic(x, a) {
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}
