/** A network for a person's photos: a GPU's picture is checked before it is used, and "auto" goes on with the CPU. */

import { checkGpu } from "./gpu-check.js";
import { Network, checkTypes, download } from "./network.js";

/**
 * What this needs of `Network`.
 *
 * @typedef {import("./gpu-check.js").GpuNetwork & {
 *   options: import("./network.js").NetworkOptions,
 *   delegate: string,
 *   notes: string[],
 * }} Opened
 */

/** @typedef {(delegate: import("./network.js").Accelerator) => Promise<Opened>} Opener */

/** A benchmark uses `Network` instead: it measures a wrong picture, and never changes the device. */
export class CheckedNetwork {
  /**
   * @param {Opened} network
   * @param {Opener} open
   * @param {boolean} checked Whether a GPU's picture was found right.
   */
  constructor(network, open, checked) {
    this.network = network;
    this.open = open;
    this.checked = checked;
  }

  /**
   * @param {import("./network.js").NetworkOptions} options
   * @param {import("./gpu-check.js").Check | null} check Null if this file's picture was found right on this page.
   * @param {Opener} [open]
   * @throws {Error} If the device that was asked for does not run the network, or draws a wrong picture.
   */
  static async open(options, check, open = openerOf(options)) {
    if (options.delegate === "cpu" || options.delegate === "npu") {
      return new CheckedNetwork(await open(options.delegate), open, false);
    }
    try {
      const network = await open("gpu");
      if (check) await checkGpu(network, check);
      return new CheckedNetwork(network, open, true);
    } catch (error) {
      if (options.delegate === "gpu") throw error;
      return new CheckedNetwork(await onCpu(open, error), open, false);
    }
  }

  get options() {
    return this.network.options;
  }

  get device() {
    return this.network.device;
  }

  get notes() {
    return this.network.notes;
  }

  /**
   * Runs the network. Under "auto", the CPU takes the place of a GPU that fails, such as one whose memory is full.
   *
   * @param {Float32Array} values
   */
  async run(values) {
    if (this.options.delegate !== "auto" || this.network.delegate !== "gpu") return this.network.run(values);
    try {
      const output = await this.network.run(values);
      if (!output.every(Number.isFinite)) throw new Error("its output contains NaN or infinity");
      return output;
    } catch (error) {
      this.network = await onCpu(this.open, error);
      return this.network.run(values);
    }
  }
}

/**
 * @param {Opener} open
 * @param {unknown} error Why the GPU is not used.
 */
async function onCpu(open, error) {
  const network = await open("cpu");
  network.notes.push(`gpu: ${error instanceof Error ? error.message : error}`);
  return network;
}

/**
 * @param {import("./network.js").NetworkOptions} options
 * @returns {Opener}
 */
function openerOf(options) {
  /** @type {Promise<Uint8Array> | null} */
  let content = null;
  return async (delegate) => {
    checkTypes(options);
    content ??= download(options.url);
    return Network.openOn(delegate, options, await content);
  };
}
