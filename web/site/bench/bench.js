/**
 * The page of `bokeh-bench --device web`: measures what the server asks for, a row at a time.
 *
 * The protocol is in docs/browser.md. The server knows how far this page is: a page that is loaded again (since it was out of
 * memory, for example) goes on with the row after the one during which it ended.
 */

import { InferenceWorker } from "../inference/client.js";
import { REQUEST_SCHEMA } from "../pipeline/contract.js";

const BEAT_MS = 2000;
const KEY = "bokeh-bench-device";

/**
 * The server's request, `contract/schemas/web-request-1.json`.
 *
 * @typedef {object} BenchRequest
 * @property {string} schema
 * @property {number} min_runs
 * @property {number} min_seconds
 * @property {number} max_warm_up_seconds
 * @property {RequestedRow[]} rows
 * @property {Record<string, ModelInfo>} models
 * @property {Record<string, {file: string, shape: number[]}>} inputs
 */

/** @typedef {{model: string, delegate: string, threads: number | null, precision: "default" | "float32"}} RequestedRow */

/**
 * @typedef {object} ModelInfo
 * @property {string} file
 * @property {import("../inference/network.js").TensorInfo} input
 * @property {import("../inference/network.js").TensorInfo} output
 * @property {number} output_index
 * @property {[number, number]} input_range
 * @property {number} total_ops
 */

/** @param {string} id */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

let device = "";
let progress = "starting";
let ended = false;
let hidden = document.hidden;

main().catch((error) => {
  show(`Stopped: ${error.message}`);
  element("error").textContent = "Reload the page to go on, or look at the computer's terminal.";
  element("error").hidden = false;
});

async function main() {
  const hello = await post("hello", { device: stored(), ...(await environment()) });
  ({ device } = hello);
  store(device);
  const beat = setInterval(() => post("beat", { device, progress }).catch(() => {}), BEAT_MS);
  addEventListener("pagehide", () => {
    if (!ended) navigator.sendBeacon("api/bye", JSON.stringify({ device }));
  });
  document.addEventListener("visibilitychange", () => {
    hidden ||= document.hidden;
    if (!document.hidden) keepAwake();
  });
  await keepAwake();
  const answer = await fetch("request.json");
  /** @type {BenchRequest} */
  const request = await answer.json();
  if (request.schema !== REQUEST_SCHEMA) throw new Error(`the computer asks in ${request.schema}; reload the page`);
  const items = listRows(request.rows);
  for (;;) {
    const { row: index, done } = await post("next", { device });
    items.forEach((item, i) => {
      if (i < (index ?? items.length) && !item.dataset.state) mark(item, "failed", "not measured");
    });
    if (index === null) {
      ended = true;
      clearInterval(beat);
      show(done);
      element("advice").hidden = true;
      return;
    }
    await measureRow(request, index, items[index]);
  }
}

/**
 * @param {BenchRequest} request
 * @param {number} index
 * @param {HTMLElement} item
 */
async function measureRow(request, index, item) {
  const row = request.rows[index];
  const name = `${index + 1} of ${request.rows.length}: ${row.model} on ${row.delegate}`;
  mark(item, "running", "");
  hidden = document.hidden;
  const worker = new InferenceWorker();
  /** @type {any} */
  let result;
  try {
    const given = await measured(request, row, worker, (text) => {
      progress = `${name}, ${text}`;
      show(progress);
    });
    const { outputs, ...entry } = given;
    result = { ...entry, outputs: outputs ? `${index}.f32` : null };
    if (hidden) result.notes.push("the page was not in front all the time, which may slow it down");
    if (outputs) await post("outputs", outputs, `?device=${device}&row=${index}`);
  } catch (error) {
    result = { failure: error instanceof Error ? error.message : String(error) };
  } finally {
    worker.end();
  }
  const { model, delegate, threads } = row;
  await post("row", { device, row: index, result: { model, delegate, threads, ...result } });
  const { failure, runs_ms: times } = result;
  const median = failure ? 0 : [...times].sort((one, other) => one - other)[times.length >> 1];
  mark(item, failure ? "failed" : "done", failure || `${median.toFixed(1)} ms`);
}

/**
 * @param {BenchRequest} request
 * @param {RequestedRow} row
 * @param {InferenceWorker} worker
 * @param {(text: string) => void} onProgress
 */
async function measured(request, row, worker, onProgress) {
  const model = request.models[row.model];
  const inputs = request.inputs[row.model];
  const url = (/** @type {string} */ file) => new URL(file, location.href).href;
  const { min_runs, min_seconds, max_warm_up_seconds } = request;
  /** @type {import("../inference/session.js").Row} */
  const given = {
    network: {
      url: url(model.file),
      input: model.input,
      output: model.output,
      output_index: model.output_index,
      delegate: /** @type {"auto" | "cpu" | "gpu" | "npu"} */ (row.delegate),
      threads: row.threads,
      precision: row.precision,
    },
    min_runs,
    min_seconds,
    max_warm_up_seconds,
    input_range: model.input_range,
    photos: inputs ? { url: url(inputs.file), count: inputs.shape[0] } : null,
  };
  const { ranOn, notes, outputs, ...times } = await worker.call("measure", given, { progress: onProgress });
  return {
    failure: "",
    placement: {
      requested: row.delegate,
      delegate: ranOn.delegate,
      device: ranOn.device,
      // LiteRT.js tells it of WebGPU, which it refuses otherwise; wasm and WebNN do not say.
      delegated_ops: ranOn.delegate === "gpu" ? model.total_ops : null,
      total_ops: model.total_ops,
      unsupported_ops: ranOn.delegate === "gpu" ? [] : null,
      precision: row.precision,
      notes,
    },
    ...times,
    peak_rss_bytes: null,
    temperature_c: null,
    outputs,
    output_shape: outputs ? [inputs.shape[0], ...model.output.shape.slice(1)] : null,
    notes: [],
  };
}

/** What the browser tells of itself. */
async function environment() {
  const { userAgent, hardwareConcurrency } = navigator;
  const memory = /** @type {any} */ (navigator).deviceMemory;
  const hints = /** @type {any} */ (navigator).userAgentData;
  const high = hints ? await hints.getHighEntropyValues(["model", "platformVersion", "fullVersionList"]).catch(() => null) : null;
  return {
    environment: {
      user_agent: userAgent,
      model: high?.model ?? "",
      platform: high ? `${high.platform} ${high.platformVersion}`.trim() : "",
      cores: hardwareConcurrency ?? null,
      memory_gib: memory ?? null,
      secure_context: isSecureContext,
      cross_origin_isolated: crossOriginIsolated,
      webgpu: "gpu" in navigator,
      webnn: "ml" in navigator,
    },
  };
}

/**
 * @param {string} path
 * @param {any} body JSON data, or the bytes of a typed array.
 * @param {string} [query]
 */
async function post(path, body, query = "") {
  const isBytes = ArrayBuffer.isView(body);
  const answer = await fetch(`api/${path}${query}`, {
    method: "POST",
    headers: { "Content-Type": isBytes ? "application/octet-stream" : "application/json" },
    body: isBytes ? /** @type {any} */ (body) : JSON.stringify(body),
  }).catch(() => {
    throw new Error("the computer does not answer; the benchmark has ended there, or the network is gone");
  });
  const data = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(data.error ?? `the computer answers with status ${answer.status}`);
  return data;
}

async function keepAwake() {
  // Not on plain http to another machine; the page says what to do.
  await navigator.wakeLock?.request("screen").catch(() => {});
}

/** @param {RequestedRow[]} rows */
function listRows(rows) {
  const items = rows.map((row) => {
    const item = document.createElement("li");
    const threads = row.threads === null ? "" : `, ${row.threads} threads`;
    const half = row.delegate !== "cpu" && row.precision === "default" ? ", fp16" : "";
    item.textContent = `${row.model}, ${row.delegate}${threads}${half}`;
    item.append(document.createElement("span"));
    return item;
  });
  element("rows").replaceChildren(...items);
  return items;
}

/**
 * @param {HTMLElement} item
 * @param {string} state
 * @param {string} text
 */
function mark(item, state, text) {
  item.dataset.state = state;
  /** @type {HTMLElement} */ (item.lastElementChild).textContent = text;
}

/** @param {string} text */
function show(text) {
  element("status").textContent = text;
}

function stored() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

/** @param {string} value */
function store(value) {
  try {
    sessionStorage.setItem(KEY, value);
  } catch {
    // A browser that stores nothing starts again when it is reloaded.
  }
}
