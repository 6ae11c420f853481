/** How a network is timed in a browser: the rules of the contract. */

import assert from "node:assert/strict";
import test from "node:test";

import { isSteady, timedRuns, warmUp } from "../site/bench/timing.js";

/** @param {number[]} times */
function runs(times) {
  let i = 0;
  return async () => times[Math.min(i++, times.length - 1)];
}

test("times are steady when the medians of the last three runs and of the three before differ by 2 %", () => {
  assert.ok(!isSteady([100, 100, 100, 100, 100]));
  assert.ok(isSteady([100, 500, 100, 101, 102, 101]));
  assert.ok(!isSteady([100, 500, 100, 103, 103, 103]));
});

test("warming up ends when times are steady, or its time is over", async () => {
  assert.deepEqual(await warmUp(10, runs([300, 100])), [300, 100, 100, 100, 100, 100]);
  assert.deepEqual(await warmUp(0.3, runs([100, 150, 200, 300])), [100, 150, 200]);
  assert.deepEqual(await warmUp(0, runs([100])), [100, 100]);
});

test("there are as many timed runs as were asked for, for as long as was asked for", async () => {
  assert.equal((await timedRuns(5, 0, runs([1]))).length, 5);
  assert.equal((await timedRuns(5, 1, runs([100]))).length, 10);
  assert.equal((await timedRuns(1, 3600, runs([0.001]))).length, 2000);
});
