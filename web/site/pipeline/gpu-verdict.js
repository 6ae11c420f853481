/**
 * The rule by which a GPU's output is judged, the same as in Python; the first part that applies decides. Why it is so:
 * `bokeh_runtime.backends.gpu_verdict`. Its cases: `contract/vectors/gpu_check.json`.
 */

import {
  GPU_CHECK_FULL_MODEL_FLOOR_DB,
  GPU_CHECK_FULL_MODEL_MARGIN_DB,
  GPU_CHECK_SAME_PICTURE_DB,
} from "./contract.js";

/** @typedef {"same" | "as_good" | "wrong" | "not_finite" | "identical" | "partial" | "no_evidence"} Verdict */

/**
 * What is known of a GPU's output for one input: the fields of `Evidence` in `bokeh_runtime.backends.gpu_verdict`.
 *
 * @typedef {object} Evidence
 * @property {boolean} finite
 * @property {boolean} identical
 * @property {number | null} gpu_vs_cpu_db PSNR of clipped values; null where there is nothing to compare with. So the others.
 * @property {number | null} gpu_vs_full_model_db
 * @property {number | null} cpu_vs_full_model_db
 * @property {boolean} float_sums
 * @property {number | null} delegated_ops
 * @property {number} total_ops
 * @property {boolean} allow_partial
 */

/** Verdicts with which a GPU may be used as it is. */
export const ACCEPTED = /** @type {readonly Verdict[]} */ (["same", "as_good"]);

/** Verdicts of which half precision may be the cause. */
export const RETRY_IN_FLOAT32 = /** @type {readonly Verdict[]} */ (["wrong", "not_finite"]);

/**
 * @param {Evidence} evidence
 * @returns {Verdict}
 */
export function judge(evidence) {
  const { delegated_ops: delegated, total_ops: total } = evidence;
  if (delegated === 0 || (delegated !== total && !evidence.allow_partial)) return "partial";
  if (!evidence.finite) return "not_finite";
  const distance = evidence.gpu_vs_cpu_db;
  if (distance === null || Number.isNaN(distance)) return "no_evidence";
  // Of a part that is known, all convolutions may be the CPU's.
  const knownPart = delegated !== null && delegated < total;
  if (evidence.identical && evidence.float_sums && !knownPart) return "identical";
  if (distance >= GPU_CHECK_SAME_PICTURE_DB) return "same";
  const { gpu_vs_full_model_db: gpu, cpu_vs_full_model_db: cpu } = evidence;
  // A comparison with NaN is false.
  const asGood =
    gpu !== null &&
    cpu !== null &&
    gpu >= GPU_CHECK_FULL_MODEL_FLOOR_DB &&
    gpu >= cpu - GPU_CHECK_FULL_MODEL_MARGIN_DB;
  return asGood ? "as_good" : "wrong";
}
