/** A photo's way through a network, with a network that is worked out by hand. */

import assert from "node:assert/strict";
import test from "node:test";

import { roundHalfEven } from "../site/pipeline/images.js";
import { Renderer } from "../site/pipeline/renderer.js";

const [HEIGHT, WIDTH] = [8, 12];

/** A photo of one colour. @param {number[]} colour @param {number} height @param {number} width */
function photo([red, green, blue], height, width) {
  const rgba = new Uint8ClampedArray(height * width * 4);
  for (let i = 0; i < rgba.length; i += 4) rgba.set([red, green, blue, 7], i);
  return { height, width, rgba };
}

/**
 * A network that gives half of the brightness, and keeps what it was given.
 *
 * @param {[number, number]} range
 * @param {(value: number) => number} [change]
 */
function network([low, high], change = (value) => value / 2) {
  const shape = [1, HEIGHT, WIDTH, 3];
  return {
    options: { input: { shape }, output: { shape } },
    seen: /** @type {Float32Array} */ (new Float32Array()),
    /** @param {Float32Array} values */
    async run(values) {
      this.seen = values;
      return values.map((value) => low + (high - low) * change((value - low) / (high - low)));
    },
  };
}

for (const range of /** @type {[number, number][]} */ ([
  [0, 1],
  [-1, 1],
  [0, 255],
])) {
  test(`a network of ${range} darkens a photo`, async () => {
    const runner = network(range);
    const renderer = new Renderer(runner, { resampling: "area", input_range: range, output_range: range });
    const told = /** @type {string[]} */ ([]);
    const result = await renderer.render({ photo: photo([200, 100, 52], 20, 30), strength: 1 }, (text) => told.push(text));
    assert.ok(Math.abs(runner.seen[0] - (range[0] + ((range[1] - range[0]) * 200) / 255)) < 1e-3);
    assert.deepEqual([...result.rgba.subarray(0, 4)], [100, 50, 26, 7]);
    assert.deepEqual([result.height, result.width], [20, 30]);
    assert.deepEqual([...renderer.join(0.5).rgba.subarray(0, 4)], [150, 75, 39, 7]);
    assert.deepEqual([...renderer.join(0).rgba.subarray(0, 3)], [200, 100, 52]);
    assert.equal(told.length, 3);
  });
}

test("an output that is not finite is refused", async () => {
  for (const wrong of [NaN, Infinity]) {
    const renderer = new Renderer(network([0, 1], () => wrong), {
      resampling: "area",
      input_range: [0, 1],
      output_range: [0, 1],
    });
    const given = { photo: photo([1, 2, 3], 20, 30), strength: 1 };
    await assert.rejects(renderer.render(given, () => {}), /NaN or infinity/);
    assert.throws(() => renderer.join(1), /no photo/);
  }
});

test("halves are rounded to even, as Python does", () => {
  assert.deepEqual([0.5, 1.5, 2.5, -0.5, 1.49, 2.51].map(roundHalfEven), [0, 2, 2, 0, 1, 3]);
});
