/** Preparing and joining give the contract's small vectors, which Python and Kotlin give too. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { Frame, floatImage } from "../site/pipeline/images.js";
import { focusMask, join } from "../site/pipeline/join.js";
import { scale } from "../site/pipeline/resample.js";

const CONTRACT = new URL("../../runtime/bokeh_runtime/contract/", import.meta.url);

/** @param {string} name */
function vectors(name) {
  return JSON.parse(readFileSync(new URL(`vectors/${name}.json`, CONTRACT), "utf8"));
}

const PREPARE = vectors("prepare");
const JOIN = vectors("join");

/** @param {{shape: number[], values: number[]}} image */
function floats(image) {
  const [height, width, channels] = image.shape;
  return floatImage(height, width, channels, Float32Array.from(image.values));
}

/** @param {{shape: number[], values: number[]}} image */
function photo(image) {
  const [height, width] = image.shape;
  const rgba = new Uint8ClampedArray(height * width * 4).fill(255);
  image.values.forEach((value, i) => (rgba[Math.floor(i / 3) * 4 + (i % 3)] = value));
  return { height, width, rgba };
}

/**
 * @param {ArrayLike<number>} ours
 * @param {ArrayLike<number>} expected
 */
function largestDifference(ours, expected) {
  assert.equal(ours.length, expected.length);
  let largest = 0;
  for (let i = 0; i < ours.length; i++) largest = Math.max(largest, Math.abs(ours[i] - expected[i]));
  return largest;
}

test("a photo lies in the network's input as the contract says", () => {
  assert.ok(PREPARE.frames.length > 5);
  for (const one of PREPARE.frames) {
    const [height, width] = one.photo;
    const [rows, columns] = one.network;
    const frame = Frame.within(height, width, rows, columns);
    assert.deepEqual(Object.values(frame), one.frame);
    assert.deepEqual(Object.values(frame.scaled(one.output_scale)), one.output_frame);
  }
});

test("margins mirror", () => {
  const { image, frame, padded } = PREPARE.margins;
  const [top, left, height, width] = frame;
  const ours = new Frame(top, left, height, width).pad(floats(image), padded.shape[0], padded.shape[1]);
  assert.ok(largestDifference(ours.values, padded.values) <= 1e-6);
});

for (const one of PREPARE.scaled) {
  const [height, width] = one.image.shape;
  test(`a photo is scaled to ${height} x ${width} by ${one.resampling} as the contract says`, () => {
    const ours = scale(photo(PREPARE.photo), height, width, one.resampling);
    // Pillow's bytes come from fixed-point weights: one step of 255 may be off.
    const allowed = one.resampling === "bicubic" ? 1.01 / 255 : 1e-5;
    assert.ok(largestDifference(ours.values, one.image.values) <= allowed);
  });
}

test("what is in focus is the contract's", () => {
  const expected = JOIN.focus.focus.values;
  const ours = focusMask(floats(JOIN.focus.network_input), floats(JOIN.focus.network_output));
  assert.ok(largestDifference(ours.values, expected) <= 1e-4);
  assert.ok(Math.min(...expected) < 0.1 && Math.max(...expected) > 0.9, "not trivial");
});

for (const one of JOIN.joined) {
  for (const { strength, image } of one.results) {
    test(`${image.shape} is joined at strength ${strength} as the contract says`, () => {
      const ours = join(photo(one.photo), floats(one.network_output), null, strength);
      assert.ok(largestDifference(ours.rgba, photo(image).rgba) <= 1);
    });
  }
}
