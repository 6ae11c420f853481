/**
 * What the pages share with the other languages: docs/contract.md. Written by
 * web/contract.py from runtime/bokeh_runtime/contract/; change it there.
 */

export const RESAMPLING = ["area", "bicubic"];
export const BICUBIC_DOWNSCALE_A = -0.5;
export const BICUBIC_DOWNSCALE_SUPPORT_PX = 2;
export const BICUBIC_UPSCALE_A = -0.75;
export const BAND_SIGMA_PX = 0.8;
export const BAND_RADIUS_PX = 3;
export const WINDOW_PX = 5;
export const WIDE_WINDOW_PX = 17;
export const BLURRED_BELOW = 0.6;
export const IN_FOCUS_ABOVE = 0.9;
export const NOISE = 1e-05;
export const WIDE_NOISE = 1e-08;
export const MAX_RUNS = 2000;
export const WARM_UP_WINDOW_RUNS = 3;
export const WARM_UP_TOLERANCE = 0.02;
export const GPU_CHECK_VERSION = 3;
export const GPU_CHECK_SAME_PICTURE_DB = 40.0;
export const GPU_CHECK_FULL_MODEL_MARGIN_DB = 1.0;
export const GPU_CHECK_FULL_MODEL_FLOOR_DB = 20.0;
export const GPU_CHECK_IMAGE_PERIOD_PX = 16;
export const GPU_CHECK_IMAGE_MEAN = 0.5;
export const GPU_CHECK_IMAGE_AMPLITUDE = 0.45;
export const REQUEST_SCHEMA = "bokeh-tflite/web-request/1";
