package io.github.bokehtflite.core

/**
 * What the app shares with the other languages: docs/contract.md. Written by android_demo/contract.py
 * from runtime/bokeh_runtime/contract/; change it there.
 */
object Contract {
    /** Names and versions of what is read and written. */
    object Schemas {
        const val MODEL = "bokeh-tflite/model/1"
        const val MODEL_2 = "bokeh-tflite/model/2"
        const val ANDROID_REQUEST = "bokeh-tflite/android-request/2"
        const val ANDROID_STATUS = "bokeh-tflite/android-status/2"
        const val ANDROID_RESULT = "bokeh-tflite/android-result/2"
    }

    /** See `Prepare` in `constants.py`. */
    object Prepare {
        val RESAMPLING = listOf("area", "bicubic")
        const val BICUBIC_DOWNSCALE_A = -0.5
        const val BICUBIC_DOWNSCALE_SUPPORT_PX = 2
        const val BICUBIC_UPSCALE_A = -0.75
    }

    /** See `Join` in `constants.py`. */
    object Join {
        const val BAND_SIGMA_PX = 0.8
        const val BAND_RADIUS_PX = 3
        const val WINDOW_PX = 5
        const val WIDE_WINDOW_PX = 17
        const val BLURRED_BELOW = 0.6
        const val IN_FOCUS_ABOVE = 0.9
        const val NOISE = 1e-05
        const val WIDE_NOISE = 1e-08
    }

    /** See `GpuCheck` in `constants.py`. */
    object GpuCheck {
        const val VERSION = 3
        const val SAME_PICTURE_DB = 40.0
        const val FULL_MODEL_MARGIN_DB = 1.0
        const val FULL_MODEL_FLOOR_DB = 20.0
        const val IMAGE_PERIOD_PX = 16
        const val IMAGE_MEAN = 0.5
        const val IMAGE_AMPLITUDE = 0.45
    }

    /** See `Benchmark` in `constants.py`. */
    object Benchmark {
        const val MAX_RUNS = 2000
        const val WARM_UP_WINDOW_RUNS = 3
        const val WARM_UP_TOLERANCE = 0.02
    }

    /** API levels; the next after the last, Android 15, deprecates it. */
    object Nnapi {
        const val LAST_API_LEVEL = 34
    }
}
