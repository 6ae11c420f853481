/** How a network is timed, as on the other devices: constants and rules are the contract's. */

import { MAX_RUNS, WARM_UP_TOLERANCE, WARM_UP_WINDOW_RUNS } from "../pipeline/contract.js";

/**
 * Runs until the medians of the last runs and of those before differ little.
 *
 * @param {number} seconds Longest warm-up.
 * @param {() => Promise<number>} run Runs once, and returns its time in milliseconds.
 */
export async function warmUp(seconds, run) {
  const times = [await run(), await run()];
  while (total(times) < seconds * 1000 && !isSteady(times)) times.push(await run());
  return times;
}

/**
 * The timed runs.
 *
 * @param {number} minRuns
 * @param {number} minSeconds
 * @param {() => Promise<number>} run
 */
export async function timedRuns(minRuns, minSeconds, run) {
  /** @type {number[]} */
  const times = [];
  while (times.length < minRuns || (total(times) < minSeconds * 1000 && times.length < MAX_RUNS)) {
    times.push(await run());
  }
  return times;
}

/** @param {number[]} times */
export function isSteady(times) {
  if (times.length < 2 * WARM_UP_WINDOW_RUNS) return false;
  const last = median(times.slice(-WARM_UP_WINDOW_RUNS));
  const before = median(times.slice(-2 * WARM_UP_WINDOW_RUNS, -WARM_UP_WINDOW_RUNS));
  return Math.abs(last / before - 1) <= WARM_UP_TOLERANCE;
}

/** @param {number[]} times */
function median(times) {
  return [...times].sort((one, other) => one - other)[times.length >> 1];
}

/** @param {number[]} times */
function total(times) {
  return times.reduce((sum, time) => sum + time, 0);
}
