/** One network in LiteRT.js: opened on one accelerator, never silently on another. */

const LITERT = new URL("../litert/", import.meta.url);
const ACCELERATORS = /** @type {const} */ ({ cpu: "wasm", gpu: "webgpu", npu: "webnn" });

/**
 * A tensor of a network, as the server describes it.
 *
 * @typedef {{shape: number[], dtype: string, scale: number, zero_point: number}} TensorInfo
 */

/**
 * What to open.
 *
 * @typedef {object} NetworkOptions
 * @property {string} url Of the .tflite file.
 * @property {TensorInfo} input
 * @property {TensorInfo} output The image.
 * @property {number} output_index Which of the outputs that is.
 * @property {"auto" | "cpu" | "gpu" | "npu"} delegate "auto" is the GPU if it runs the whole network, else the CPU.
 * @property {number | null} threads Null is all cores where the browser allows threads, one elsewhere.
 * @property {"default" | "float32"} precision "float32" rules out half precision.
 */

/** @typedef {"cpu" | "gpu" | "npu"} Accelerator */

/** An open network. */
export class Network {
  /**
   * @param {typeof import("@litertjs/core")} litert
   * @param {import("@litertjs/core").CompiledModel} compiled
   * @param {Uint8Array} content The .tflite file.
   * @param {NetworkOptions} options
   * @param {Accelerator} delegate
   * @param {string} device
   * @param {string[]} notes
   */
  constructor(litert, compiled, content, options, delegate, device, notes) {
    this.content = content;
    this.delegate = delegate;
    this.litert = litert;
    this.compiled = compiled;
    this.options = options;
    this.device = device;
    this.notes = notes;
  }

  /**
   * Opens a network. Call it once in each worker, since LiteRT.js loads one program for each.
   *
   * @param {NetworkOptions} options
   */
  static async open(options) {
    checkTypes(options);
    const content = await download(options.url);
    if (options.delegate !== "auto") return Network.openOn(options.delegate, options, content);
    try {
      return await Network.openOn("gpu", options, content);
    } catch (error) {
      const network = await Network.openOn("cpu", options, content);
      network.notes.push(`gpu: ${error instanceof Error ? error.message : error}`);
      return network;
    }
  }

  /**
   * @param {Accelerator} delegate
   * @param {NetworkOptions} options
   * @param {Uint8Array} content
   */
  static async openOn(delegate, options, content) {
    const litert = /** @type {typeof import("@litertjs/core")} */ (
      await import(new URL("litert.js", LITERT).href)
    );
    const log = collectLog();
    try {
      const { program, threads, notes } = await chooseProgram(litert, delegate, options.threads);
      const gpu = delegate === "gpu" ? await gpuName() : "";
      await loadProgram(litert, program);
      const precision = options.precision === "float32" ? "fp32" : "fp16";
      const compiled = await litert.loadAndCompile(content, {
        accelerator: ACCELERATORS[delegate],
        cpuOptions: { numThreads: threads },
        gpuOptions: { precision },
        webNNOptions: { devicePreference: "npu", precision },
      });
      checkPlacement(compiled, delegate, log.lines);
      const cpu = `wasm (${program.name}), ${threads} ${threads === 1 ? "thread" : "threads"}`;
      const device = { cpu, gpu, npu: "WebNN" }[delegate];
      return new Network(litert, compiled, content, options, delegate, device, notes);
    } catch (error) {
      throw explained(error, log.lines);
    } finally {
      log.stop();
    }
  }

  /**
   * Runs the network.
   *
   * @param {Float32Array} values All values of the input, in the network's own range.
   * @returns {Promise<Float32Array>} All values of the output, in its own range.
   */
  async run(values) {
    return this.runCompiled(this.compiled, values);
  }

  /**
   * Runs the same file on the CPU, in the program that is loaded: beside the GPU, whose program another would replace.
   *
   * @param {Float32Array} values
   */
  async runOnCpu(values) {
    const cpuOptions = { numThreads: 1 };
    const compiled = await this.litert.loadAndCompile(this.content, { accelerator: ACCELERATORS.cpu, cpuOptions });
    try {
      return await this.runCompiled(compiled, values);
    } finally {
      compiled.delete();
    }
  }

  /**
   * @param {import("@litertjs/core").CompiledModel} compiled
   * @param {Float32Array} values
   */
  async runCompiled(compiled, values) {
    const { input, output } = this.options;
    const tensor = new this.litert.Tensor(stored(values, input), input.shape);
    try {
      const results = await compiled.run([tensor]);
      try {
        return real(await results[this.options.output_index].data(), output);
      } finally {
        for (const result of results) result.delete();
      }
    } finally {
      tensor.delete();
    }
  }
}

/** @param {NetworkOptions} options */
export function checkTypes({ input, output }) {
  for (const { dtype } of [input, output]) {
    if (dtype !== "float32" && dtype !== "uint8") {
      throw new Error(`LiteRT.js takes float32 and uint8 images, and this file has ${dtype}; convert with --quant int8`);
    }
  }
}

/** @param {string} url */
export async function download(url) {
  const answer = await fetch(url).catch(() => null);
  if (!answer || !answer.ok) {
    throw new Error(`the model could not be loaded (${answer ? `status ${answer.status}` : "no connection"}); reload the page`);
  }
  return new Uint8Array(await answer.arrayBuffer());
}

/**
 * Chooses the build of LiteRT.js: with threads, with JSPI (which WebNN needs), or plain.
 *
 * @param {typeof import("@litertjs/core")} litert
 * @param {Accelerator} delegate
 * @param {number | null} threads
 */
async function chooseProgram(litert, delegate, threads) {
  const simd = await litert.supportsFeature("relaxedSimd");
  if (delegate === "cpu") {
    const refusal = await threadRefusal(litert, simd);
    const wanted = threads ?? (refusal ? 1 : navigator.hardwareConcurrency);
    if (wanted > 1 && refusal) throw new Error(`${wanted} threads: ${refusal}`);
    const notes = threads === null && refusal ? [`one thread: ${refusal}`] : [];
    const name = simd ? "relaxed SIMD" : "SIMD";
    return { program: { name, options: wanted > 1 ? { threads: true } : {} }, threads: wanted, notes };
  }
  if (!self.isSecureContext) {
    throw new Error(
      "WebGPU and WebNN need a secure context; use --adb-reverse, or https, which --serve-on gives by itself",
    );
  }
  const jspi = simd && (await litert.supportsFeature("jspi"));
  if (delegate === "gpu" && !navigator.gpu) throw new Error("this browser has no WebGPU; update it, or use the CPU");
  if (delegate === "npu") {
    if (!("ml" in navigator)) throw new Error("this browser has no WebNN; use the CPU or the GPU");
    if (!jspi) throw new Error("WebNN needs a browser with JSPI; update it, or use the CPU or the GPU");
  }
  return { program: { name: "", options: jspi ? { jspi: true } : {} }, threads: 1, notes: [] };
}

/**
 * Why wasm has one thread here; "" if it may have several.
 *
 * @param {typeof import("@litertjs/core")} litert
 * @param {boolean} simd
 */
async function threadRefusal(litert, simd) {
  if (!self.crossOriginIsolated) {
    return "the page is not cross-origin isolated, which needs https (or localhost) and the headers COOP and COEP";
  }
  if (!simd) return "LiteRT.js has threads for browsers with relaxed SIMD alone, which this one lacks";
  return (await litert.supportsFeature("threads")) ? "" : "this browser has no wasm threads";
}

/**
 * @param {typeof import("@litertjs/core")} litert
 * @param {{options: {threads?: boolean, jspi?: boolean}}} program
 */
async function loadProgram(litert, { options }) {
  const wasm = new URL("wasm/", LITERT).href;
  /** @type {any} */ (self).Module = {
    locateFile: (/** @type {string} */ name) => wasm + name,
    mainScriptUrlOrBlob: `${wasm}litert_wasm_threaded_internal.js`,
  };
  litert.unloadLiteRt(); // what "auto" has tried before
  await litert.loadLiteRt(wasm, options);
}

/**
 * Refuses a network of which the accelerator does not run all.
 *
 * @param {import("@litertjs/core").CompiledModel} compiled
 * @param {Accelerator} delegate
 * @param {string[]} log
 */
function checkPlacement(compiled, delegate, log) {
  if (delegate === "cpu") return;
  if (compiled.options.accelerator === ACCELERATORS[delegate] && compiled.isFullyAccelerated) return;
  // The delegate names each operator that it does not take: "CONV_2D: Tensor type(INT16) is not supported".
  const reasons = log.flatMap((text) => text.split("\n")).filter((line) => /^[A-Z][A-Z0-9_]+: (?!.*\.cc:\d)/.test(line));
  const named = [...new Set(reasons)].filter((line) => !/^(ERROR|WARNING|INFO): /.test(line)).slice(0, 3);
  const name = delegate === "gpu" ? "WebGPU" : "WebNN";
  throw new Error(`${name} does not run the whole model${named.length ? ` (${named.join("; ")})` : ""}; use the CPU`);
}

async function gpuName() {
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) throw new Error("WebGPU finds no GPU; look at chrome://gpu, or use the CPU");
  const { vendor, architecture, device, description } = adapter.info;
  return [description || [vendor, device || architecture].filter(Boolean).join(" "), "WebGPU"].filter(Boolean).join(", ");
}

/** Collects what LiteRT.js writes with `console.error` and `console.warn`, its INFO lines too. */
function collectLog() {
  const { error, warn } = console;
  /** @type {string[]} */
  const lines = [];
  console.error = console.warn = (...words) => lines.push(words.join(" "));
  return { lines, stop: () => Object.assign(console, { error, warn }) };
}

/**
 * Adds what the library has written to an error that says nothing by itself.
 *
 * @param {unknown} error
 * @param {string[]} log
 */
function explained(error, log) {
  const message = error instanceof Error ? error.message : String(error);
  const lines = log.filter((line) => /^ERROR: (?!Following)/.test(line)).slice(-3);
  return new Error(lines.length ? `${message} (${lines.join("; ").slice(0, 300)})` : message);
}

/**
 * @param {Float32Array} values
 * @param {TensorInfo} tensor
 */
function stored(values, tensor) {
  if (tensor.dtype === "float32") return values;
  // Uint8ClampedArray rounds half to even, as Python does.
  const rounded = Uint8ClampedArray.from(values, (value) => value / tensor.scale + tensor.zero_point);
  return new Uint8Array(rounded.buffer);
}

/**
 * @param {ArrayLike<number>} values
 * @param {TensorInfo} tensor
 */
function real(values, tensor) {
  // A copy, since LiteRT.js takes the memory back. `from` would go through each value.
  if (tensor.dtype === "float32") return new Float32Array(values);
  return Float32Array.from(values, (value) => (value - tensor.zero_point) * tensor.scale);
}
