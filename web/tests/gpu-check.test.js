/** A GPU's picture: the contract's verdicts, what is compared, and what takes its place. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { CheckedNetwork } from "../site/inference/checked-network.js";
import { psnr, testImage } from "../site/inference/gpu-check.js";
import { GPU_CHECK_VERSION } from "../site/pipeline/contract.js";
import { ACCEPTED, RETRY_IN_FLOAT32, judge } from "../site/pipeline/gpu-verdict.js";

const VECTORS = JSON.parse(
  readFileSync(new URL("../../runtime/bokeh_runtime/contract/vectors/gpu_check.json", import.meta.url), "utf8"),
);
const NUMBERS = new Map(Object.entries({ infinity: Infinity, nan: NaN }));

for (const one of VECTORS.cases) {
  test(`the contract's verdict: ${one.name}`, () => {
    const entries = Object.entries(one.evidence).map(([name, value]) => [name, NUMBERS.get(value) ?? value]);
    assert.equal(judge(Object.fromEntries(entries)), one.verdict);
  });
}

test("the vectors are of this version, and so is what follows from a verdict", () => {
  assert.equal(VECTORS.check_version, GPU_CHECK_VERSION);
  assert.deepEqual(ACCEPTED, VECTORS.accepted);
  assert.deepEqual(RETRY_IN_FLOAT32, VECTORS.retry_in_float32);
});

test("PSNR has peak 1", () => {
  assert.ok(Math.abs(psnr(Float32Array.of(0, 1), Float32Array.of(0.1, 0.9)) - 20) < 1e-5);
  assert.equal(psnr(Float32Array.of(0.5), Float32Array.of(0.5)), Infinity);
});

test("the test image is the contract's waves", () => {
  const image = testImage([1, 3, 4, 3]);
  const expected = 0.5 + 0.45 * Math.sin(2 / 16 + 1) * Math.cos((2 * 3) / 16);
  assert.ok(Math.abs(image[(2 * 4 + 3) * 3 + 1] - expected) < 1e-6);
});

const SHAPE = [1, 8, 8, 3];
const CHECK = {
  input_range: /** @type {[number, number]} */ ([-1, 1]),
  output_range: /** @type {[number, number]} */ ([0, 255]),
  total_ops: 5,
  float_sums: true,
  reference: /** @type {string | null} */ (null),
};

/**
 * Options, and what opens networks that give the brightness in 0 to 255, the GPU's with an error.
 *
 * @param {"auto" | "cpu" | "gpu" | "npu"} asked
 * @param {(value: number, run: number) => number} gpu
 * @param {(value: number) => number} [cpu]
 */
function given(asked, gpu, cpu = (value) => value) {
  const tensor = { shape: SHAPE, dtype: "float32", scale: 1, zero_point: 0 };
  /** @type {import("../site/inference/network.js").NetworkOptions} */
  const options = {
    url: "", input: tensor, output: tensor, output_index: 0, delegate: asked, threads: null, precision: "float32",
  };
  const opened = /** @type {string[]} */ ([]);
  const open = async (/** @type {string} */ delegate) => {
    opened.push(delegate);
    let runs = 0;
    const runOnCpu = async (/** @type {Float32Array} */ values) => values.map((value) => cpu(((value + 1) / 2) * 255));
    const run = async (/** @type {Float32Array} */ values) => {
      runs++;
      return delegate === "gpu" ? (await runOnCpu(values)).map((value) => gpu(value, runs)) : runOnCpu(values);
    };
    return { options, device: `the ${delegate}`, delegate, notes: /** @type {string[]} */ ([]), run, runOnCpu };
  };
  return { options, opened, open };
}

const slightly = (/** @type {number} */ value) => value + 0.1;
const dark = (/** @type {number} */ value) => value / 2;

test("a GPU that draws the CPU's picture is used", async () => {
  for (const asked of /** @type {const} */ (["auto", "gpu"])) {
    const { options, opened, open } = given(asked, slightly);
    const network = await CheckedNetwork.open(options, CHECK, open);
    assert.deepEqual([network.device, network.notes, network.checked, opened], ["the gpu", [], true, ["gpu"]]);
  }
});

for (const [name, gpu, reason] of /** @type {[string, (value: number) => number, RegExp][]} */ ([
  ["another picture", dark, /the picture of the gpu is wrong \(\d+\.\d dB PSNR against the CPU's\)/],
  ["what is not finite", () => NaN, /is wrong \(NaN or infinity\)/],
  ["the CPU's picture bit for bit", (/** @type {number} */ value) => value, /bit-identical.*did not run on the gpu/],
])) {
  test(`a GPU that draws ${name} is refused, and "auto" takes the CPU`, async () => {
    const asked = given("gpu", gpu);
    await assert.rejects(CheckedNetwork.open(asked.options, CHECK, asked.open), reason);
    const auto = given("auto", gpu);
    const network = await CheckedNetwork.open(auto.options, CHECK, auto.open);
    assert.equal(network.device, "the cpu");
    assert.equal(network.checked, false);
    assert.match(network.notes.join(), reason);
  });
}

test("a picture unlike the CPU's is right where it is as close to the full model", async () => {
  const image = testImage(SHAPE).map((value) => Math.fround(Math.round(value * 255) / 255));
  const bytes = Uint8Array.from(image, (value) => Math.round(value * 255));
  const content = new Uint8Array(bytes.length + image.byteLength);
  content.set(bytes);
  content.set(new Uint8Array(image.buffer), bytes.length);
  const check = { ...CHECK, reference: `data:application/octet-stream;base64,${Buffer.from(content).toString("base64")}` };
  // The CPU's error is that of a quantized file; the GPU computes it in floats.
  const { options, open } = given("gpu", (value) => value - 7, (value) => value + 8);
  assert.equal((await CheckedNetwork.open(options, check, open)).device, "the gpu");
  await assert.rejects(CheckedNetwork.open(options, CHECK, open), /is wrong/);
});

test("a model that draws nothing finite on the CPU is refused", async () => {
  const { options, open } = given("gpu", slightly, () => NaN);
  await assert.rejects(CheckedNetwork.open(options, CHECK, open), /on the CPU; convert it again/);
});

test("a file that was found right is not checked again", async () => {
  const { options, open } = given("gpu", dark);
  assert.equal((await CheckedNetwork.open(options, null, open)).device, "the gpu");
});

for (const asked of /** @type {const} */ (["auto", "gpu"])) {
  test(`a GPU that fails while it runs: ${asked}`, async () => {
    const { options, open } = given(asked, (value, run) => {
      if (run > 1) throw new Error("the device was lost");
      return value + 0.1;
    });
    const network = await CheckedNetwork.open(options, CHECK, open);
    const values = new Float32Array(8 * 8 * 3).fill(1);
    if (asked === "gpu") return assert.rejects(network.run(values), /device was lost/);
    assert.equal((await network.run(values))[0], 255);
    assert.equal(network.device, "the cpu");
    assert.deepEqual(network.notes, ["gpu: the device was lost"]);
    return undefined;
  });
}
