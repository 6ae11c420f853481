package io.github.bokehtflite.core

import kotlin.math.exp

/**
 * Joins a network's small output with its photo at the photo's full size, as `bokeh_runtime.imaging.detail_fusion` does:
 * the network decides what is in focus at its own resolution; where its output keeps the finest detail of its input, the
 * detail that was too fine for it is taken from the photo.
 *
 * @param photo the result is written into it.
 * @param networkOutput for all of the photo, in 0 to 1.
 * @param networkInput the photo at the size of [networkOutput]; scaled here if it is of another.
 * @param strength 1 is the network's output, 0 the photo, between them their mixture.
 */
fun join(photo: Photo, networkOutput: FloatImage, networkInput: FloatImage?, strength: Float) {
    var small = networkOutput
    val before: FloatImage
    if (networkOutput.height >= photo.height || networkOutput.width >= photo.width) {
        small = resize(networkOutput, areaTaps(networkOutput.width, photo.width), areaTaps(networkOutput.height, photo.height))
        before = photo.toUnit()
    } else {
        val given = networkInput?.takeIf { it.sameShape(networkOutput) }
        before = given ?: scale(photo, networkOutput.height, networkOutput.width, "area")
    }
    val focus = inFocus(before, small)
    val rows = small.height
    // Both images are linear in the network's, so mixing is done where they are small.
    val mixed = FloatImage(rows, small.width, 3)
    for (i in mixed.values.indices) {
        mixed.values[i] = 255 * (strength * small.values[i] + (1 - strength) * before.values[i])
    }
    val kept = FloatImage(rows, small.width, 1)
    for (i in kept.values.indices) kept.values[i] = strength * focus.values[i] + (1 - strength)
    val blurred = FloatImage(rows, small.width, 3, FloatArray(before.values.size) { 255 * before.values[it] })

    val cubicAcross = growTaps(small.width, photo.width, cubic = true)
    val linearAcross = growTaps(small.width, photo.width, cubic = false)
    val cubicDown = growTaps(rows, photo.height, cubic = true)
    val linearDown = growTaps(rows, photo.height, cubic = false)
    val width = photo.width
    parallel(photo.height) { row ->
        // Down first, where lines are short; then across, pixel by pixel.
        val picture = downRow(mixed, cubicDown[row])
        val soft = downRow(blurred, cubicDown[row])
        val keep = downRow(kept, linearDown[row])
        for (column in 0 until width) {
            val tap = cubicAcross[column]
            val near = linearAcross[column]
            var share = 0f
            for (k in near.weights.indices) share += near.weights[k] * keep[near.first + k]
            val at = (row * width + column) * 3
            for (channel in 0 until 3) {
                var there = 0f
                var low = 0f
                for (k in tap.weights.indices) {
                    val from = (tap.first + k) * 3 + channel
                    there += tap.weights[k] * picture[from]
                    low += tap.weights[k] * soft[from]
                }
                val detail = (photo.rgb[at + channel].toInt() and 0xff) - low
                photo.rgb[at + channel] = toByte(there + share * detail)
            }
        }
    }
}

private fun downRow(image: FloatImage, tap: Taps): FloatArray {
    val line = image.width * image.channels
    val row = FloatArray(line)
    for (k in tap.weights.indices) {
        val from = (tap.first + k) * line
        for (i in 0 until line) row[i] += tap.weights[k] * image.values[from + i]
    }
    return row
}

/**
 * How far each pixel is in focus, `[height, width, 1]` in 0 to 1: the slope of a least-squares fit of the output's detail to
 * the input's, over a window, through a smooth step. See `bokeh_runtime.imaging.detail_fusion.focus_mask`.
 */
internal fun inFocus(networkInput: FloatImage, networkOutput: FloatImage): FloatImage {
    val before = detail(networkInput)
    val after = detail(networkOutput)
    val common = FloatImage(networkInput.height, networkInput.width, 1)
    val whole = FloatImage(networkInput.height, networkInput.width, 1)
    for (i in common.values.indices) {
        for (channel in 0 until 3) {
            val one = before.values[i * 3 + channel]
            common.values[i] += one * after.values[i * 3 + channel]
            whole.values[i] += one * one
        }
    }
    val wideCommon = mean(common, Contract.Join.WIDE_WINDOW_PX)
    val wideWhole = mean(whole, Contract.Join.WIDE_WINDOW_PX)
    val nearCommon = mean(common, Contract.Join.WINDOW_PX)
    val nearWhole = mean(whole, Contract.Join.WINDOW_PX)
    val focus = FloatImage(networkInput.height, networkInput.width, 1)
    for (i in focus.values.indices) {
        val wide = (wideCommon.values[i] / (wideWhole.values[i] + WIDE_NOISE)).coerceIn(0f, 1f)
        val kept = (nearCommon.values[i] + NOISE * wide) / (nearWhole.values[i] + NOISE)
        val step = ((kept - BLURRED_BELOW) / (IN_FOCUS_ABOVE - BLURRED_BELOW)).coerceIn(0f, 1f)
        focus.values[i] = step * step * (3 - 2 * step)
    }
    return focus
}

/** What a Gaussian takes away; the edges mirror without being shown twice. */
private fun detail(image: FloatImage): FloatImage {
    val kernel = FloatArray(2 * REACH + 1) { exp(-((it - REACH) * (it - REACH)) / (2 * BAND_SIGMA * BAND_SIGMA)).toFloat() }
    val sum = kernel.sum()
    for (i in kernel.indices) kernel[i] /= sum
    val blurred = filtered(image, kernel, ::reflected)
    for (i in blurred.values.indices) blurred.values[i] = image.values[i] - blurred.values[i]
    return blurred
}

private fun mean(image: FloatImage, window: Int): FloatImage =
    filtered(image, FloatArray(window) { 1f / window }, ::mirrored)

/** Applies a symmetric kernel across and down; [edge] says which pixel stands for one outside. */
private fun filtered(image: FloatImage, kernel: FloatArray, edge: (Int, Int) -> Int): FloatImage {
    val reach = kernel.size / 2
    val channels = image.channels
    val wide = FloatImage(image.height, image.width, channels)
    val columns = Array(image.width) { column -> IntArray(kernel.size) { edge(column + it - reach, image.width) } }
    val line = image.width * channels
    parallel(image.height) { row ->
        for (column in 0 until image.width) {
            for (channel in 0 until channels) {
                var sum = 0f
                for (k in kernel.indices) {
                    sum += kernel[k] * image.values[row * line + columns[column][k] * channels + channel]
                }
                wide.values[row * line + column * channels + channel] = sum
            }
        }
    }
    val result = FloatImage(image.height, image.width, channels)
    parallel(image.height) { row ->
        for (k in kernel.indices) {
            val from = edge(row + k - reach, image.height) * line
            for (i in 0 until line) result.values[row * line + i] += kernel[k] * wide.values[from + i]
        }
    }
    return result
}

/** As [mirrored], but the edge is shown once. */
private fun reflected(index: Int, size: Int): Int {
    if (size == 1) return 0
    val around = Math.floorMod(index, 2 * size - 2)
    return if (around < size) around else 2 * size - 2 - around
}

// In single precision, as Python's arrays.
private const val BAND_SIGMA = Contract.Join.BAND_SIGMA_PX
private const val REACH = Contract.Join.BAND_RADIUS_PX
private const val BLURRED_BELOW = Contract.Join.BLURRED_BELOW.toFloat()
private const val IN_FOCUS_ABOVE = Contract.Join.IN_FOCUS_ABOVE.toFloat()
private const val NOISE = Contract.Join.NOISE.toFloat()
private const val WIDE_NOISE = Contract.Join.WIDE_NOISE.toFloat()
