/** Holds a GPU's picture against the CPU's: what the rule of `gpu-verdict.js` is applied to. */

import { GPU_CHECK_IMAGE_AMPLITUDE, GPU_CHECK_IMAGE_MEAN, GPU_CHECK_IMAGE_PERIOD_PX } from "../pipeline/contract.js";
import { ACCEPTED, judge } from "../pipeline/gpu-verdict.js";
import { download } from "./network.js";

/**
 * What the check must know of a model.
 *
 * @typedef {object} Check
 * @property {[number, number]} input_range
 * @property {[number, number]} output_range
 * @property {number} total_ops
 * @property {boolean} float_sums Whether the file has convolutions, which GPUs compute in floats.
 * @property {string | null} reference Address of the network's input as bytes, and then the full model's output as
 *   little-endian float32 in 0 to 1; null if there is none.
 */

/**
 * A network on a GPU, which runs all of it.
 *
 * @typedef {object} GpuNetwork
 * @property {{input: {shape: number[]}, output: {shape: number[]}}} options
 * @property {string} device
 * @property {(values: Float32Array) => Promise<Float32Array>} run
 * @property {(values: Float32Array) => Promise<Float32Array>} runOnCpu
 */

/**
 * Checks a GPU once; half precision is no cause to try again, since the page asks for float32.
 *
 * @param {GpuNetwork} network
 * @param {Check} check
 * @throws {Error} If the GPU's picture is wrong, or the CPU's is not finite.
 */
export async function checkGpu(network, check) {
  const { input, output } = network.options;
  const { image, full } = await picture(input.shape, output.shape, check.reference);
  const [low, high] = check.input_range;
  const values = image.map((value) => low + (high - low) * value);
  const byGpu = await network.run(values);
  const byCpu = await network.runOnCpu(values);
  if (!byCpu.every(Number.isFinite)) throw new Error("the model draws NaN or infinity on the CPU; convert it again");
  const finite = byGpu.every(Number.isFinite);
  const [gpu, cpu] = [byGpu, byCpu].map((raw) => clippedUnit(raw, check.output_range));
  const distance = finite ? psnr(gpu, cpu) : null;
  const verdict = judge({
    finite,
    identical: byGpu.every((value, i) => value === byCpu[i]),
    gpu_vs_cpu_db: distance,
    gpu_vs_full_model_db: finite && full ? psnr(gpu, full) : null,
    cpu_vs_full_model_db: full ? psnr(cpu, full) : null,
    float_sums: check.float_sums,
    delegated_ops: check.total_ops,
    total_ops: check.total_ops,
    allow_partial: false,
  });
  if (ACCEPTED.includes(verdict)) return;
  if (verdict === "identical") {
    throw new Error(`the output is bit-identical to the CPU's, so the model did not run on ${network.device}; use the CPU`);
  }
  const how = distance === null ? "NaN or infinity" : `${distance.toFixed(1)} dB PSNR against the CPU's`;
  throw new Error(`the picture of ${network.device} is wrong (${how}); use the CPU`);
}

/**
 * Waves of every channel, for models without a reference; `GpuCheck` in `constants.py` has the formula.
 *
 * @param {number[]} shape
 */
export function testImage([, height, width, channels]) {
  const image = new Float32Array(height * width * channels);
  for (let i = 0; i < image.length; i++) {
    const channel = i % channels;
    const column = Math.floor(i / channels) % width;
    const row = Math.floor(i / channels / width);
    const wave =
      Math.sin(row / GPU_CHECK_IMAGE_PERIOD_PX + channel) * Math.cos(((channel + 1) * column) / GPU_CHECK_IMAGE_PERIOD_PX);
    image[i] = GPU_CHECK_IMAGE_MEAN + GPU_CHECK_IMAGE_AMPLITUDE * wave;
  }
  return image;
}

/**
 * @param {number[]} input
 * @param {number[]} output
 * @param {string | null} reference
 */
async function picture(input, output, reference) {
  if (reference === null) return { image: testImage(input), full: null };
  const content = await download(reference);
  const [inputs, outputs] = [input, output].map((shape) => shape.reduce((product, side) => product * side, 1));
  if (content.length !== inputs + 4 * outputs) throw new Error("the model's reference is damaged; reload the page");
  const view = new DataView(content.buffer, content.byteOffset + inputs);
  return {
    image: Float32Array.from(content.subarray(0, inputs), (value) => value / 255),
    full: Float32Array.from({ length: outputs }, (_, i) => view.getFloat32(4 * i, true)),
  };
}

/**
 * @param {Float32Array} raw
 * @param {[number, number]} range
 */
function clippedUnit(raw, [low, high]) {
  return raw.map((value) => Math.min(1, Math.max(0, (value - low) / (high - low))));
}

/**
 * PSNR with peak 1; infinity for identical images.
 *
 * @param {Float32Array} image
 * @param {Float32Array} reference
 */
export function psnr(image, reference) {
  let sum = 0;
  for (let i = 0; i < image.length; i++) sum += (image[i] - reference[i]) ** 2;
  return -10 * Math.log10(sum / image.length);
}
