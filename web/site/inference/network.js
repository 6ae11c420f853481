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
 * @property {"cpu" | "gpu" | "npu"} delegate
 * @property {number | null} threads Null is all cores where the browser allows threads, one elsewhere.
 * @property {"default" | "float32"} precision "float32" rules out half precision.
 */

/** An open network. */
export class Network {
  /**
   * @param {typeof import("@litertjs/core")} litert
   * @param {import("@litertjs/core").CompiledModel} compiled
   * @param {NetworkOptions} options
   * @param {string} device
   * @param {string[]} notes
   */
  constructor(litert, compiled, options, device, notes) {
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
    const litert = /** @type {typeof import("@litertjs/core")} */ (
      await import(new URL("litert.js", LITERT).href)
    );
    const log = collectLog();
    try {
      const { program, threads, notes } = await chooseProgram(litert, options);
      const gpu = options.delegate === "gpu" ? await gpuName() : "";
      await loadProgram(litert, program);
      const compiled = await litert.loadAndCompile(content, {
        accelerator: ACCELERATORS[options.delegate],
        cpuOptions: { numThreads: threads },
        gpuOptions: { precision: options.precision === "float32" ? "fp32" : "fp16" },
        webNNOptions: { devicePreference: "npu", precision: options.precision === "float32" ? "fp32" : "fp16" },
      });
      checkPlacement(compiled, options, log.lines);
      const cpu = `wasm (${program.name}), ${threads} ${threads === 1 ? "thread" : "threads"}`;
      const device = { cpu, gpu, npu: "WebNN" }[options.delegate];
      return new Network(litert, compiled, options, device, notes);
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
    const { input, output } = this.options;
    const tensor = new this.litert.Tensor(stored(values, input), input.shape);
    try {
      const results = await this.compiled.run([tensor]);
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
function checkTypes({ input, output }) {
  for (const { dtype } of [input, output]) {
    if (dtype !== "float32" && dtype !== "uint8") {
      throw new Error(`LiteRT.js takes float32 and uint8 images, and this file has ${dtype}; convert with --quant int8`);
    }
  }
}

/** @param {string} url */
async function download(url) {
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
 * @param {NetworkOptions} options
 */
async function chooseProgram(litert, { delegate, threads }) {
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
  if (delegate === "gpu" && !navigator.gpu) throw new Error("this browser has no WebGPU; update it, or use -d cpu");
  if (delegate === "npu") {
    if (!("ml" in navigator)) throw new Error("this browser has no WebNN; use -d cpu,gpu");
    if (!jspi) throw new Error("WebNN needs a browser with JSPI; update it, or use -d cpu,gpu");
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
  await litert.loadLiteRt(wasm, options);
}

/**
 * Refuses a network of which the accelerator does not run all.
 *
 * @param {import("@litertjs/core").CompiledModel} compiled
 * @param {NetworkOptions} options
 * @param {string[]} log
 */
function checkPlacement(compiled, { delegate }, log) {
  if (delegate === "cpu") return;
  if (compiled.options.accelerator === ACCELERATORS[delegate] && compiled.isFullyAccelerated) return;
  const reason = log.filter((line) => /not supported|unsupported|error/i.test(line)).join("; ").slice(0, 500);
  const name = delegate === "gpu" ? "WebGPU" : "WebNN";
  throw new Error(`${name} does not run the whole model${reason ? ` (${reason})` : ""}; use -d cpu`);
}

async function gpuName() {
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) throw new Error("WebGPU finds no GPU; look at chrome://gpu, or use -d cpu");
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
  const lines = log.filter((line) => /^ERROR|failed|invalid|out of memory/i.test(line)).slice(-3);
  return new Error(lines.length ? `${message} (${lines.join("; ").slice(0, 500)})` : message);
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
  if (tensor.dtype === "float32") return Float32Array.from(values);
  return Float32Array.from(values, (value) => (value - tensor.zero_point) * tensor.scale);
}
