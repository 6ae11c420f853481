package io.github.bokehtflite.core

import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.floor

/** Weights that make each value of a line out of those of another: `weights[i]` belongs to `first + i`. */
internal class Taps(val first: Int, val weights: FloatArray)

/** The mean over the area that each of [to] values covers of [from]. */
internal fun areaTaps(from: Int, to: Int): Array<Taps> {
    val step = from.toDouble() / to
    return Array(to) { i ->
        val start = i * step
        val stop = minOf(from.toDouble(), start + step)
        val first = minOf(from - 1, floor(start + 1e-9).toInt())
        val last = minOf(from, maxOf(first + 1, ceil(stop - 1e-9).toInt()))
        val covered = DoubleArray(last - first) { k -> minOf(stop, first + k + 1.0) - maxOf(start, first + k.toDouble()) }
        val whole = covered.sum()
        Taps(first, FloatArray(covered.size) { (covered[it] / whole).toFloat() })
    }
}

/** Keys' cubic (1981) or a straight line, edges repeated: what OpenCV's `resize` does where it grows. */
internal fun growTaps(from: Int, to: Int, cubic: Boolean): Array<Taps> = Array(to) { i ->
    val centre = (i + 0.5) * from / to - 0.5
    val low = floor(centre).toInt()
    val reach = if (cubic) -1..2 else 0..1
    val first = (low + reach.first).coerceIn(0, from - 1)
    val last = (low + reach.last).coerceIn(0, from - 1)
    val weights = FloatArray(last - first + 1)
    for (k in reach) {
        val distance = abs(centre - (low + k))
        val weight = if (cubic) cubic(distance, Contract.Prepare.BICUBIC_UPSCALE_A) else 1 - distance
        weights[(low + k).coerceIn(0, from - 1) - first] += weight.toFloat()
    }
    Taps(first, weights)
}

/** Pillow's bicubic, widened where it shrinks. */
private fun pillowTaps(from: Int, to: Int): Array<Taps> {
    val step = from.toDouble() / to
    val widened = maxOf(1.0, step)
    val support = Contract.Prepare.BICUBIC_DOWNSCALE_SUPPORT_PX * widened
    return Array(to) { i ->
        val centre = (i + 0.5) * step
        val first = maxOf(0, (centre - support + 0.5).toInt())
        val last = minOf(from, (centre + support + 0.5).toInt())
        val raw = DoubleArray(last - first) { cubic(abs((first + it - centre + 0.5) / widened), Contract.Prepare.BICUBIC_DOWNSCALE_A) }
        val sum = raw.sum()
        Taps(first, FloatArray(raw.size) { (raw[it] / sum).toFloat() })
    }
}

private fun cubic(x: Double, a: Double): Double = when {
    x <= 1 -> ((a + 2) * x - (a + 3)) * x * x + 1
    x < 2 -> ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    else -> 0.0
}

/**
 * Scales a photo as the network was trained on photos, to values in 0 to 1.
 *
 * @param resampling "area" or "bicubic", for a result that is smaller; bicubic where it grows.
 */
fun scale(photo: Photo, height: Int, width: Int, resampling: String): FloatImage {
    val grows = height > photo.height || width > photo.width
    val across: Array<Taps>
    val down: Array<Taps>
    when {
        grows -> {
            across = growTaps(photo.width, width, cubic = true)
            down = growTaps(photo.height, height, cubic = true)
        }
        resampling == "bicubic" -> {
            across = pillowTaps(photo.width, width)
            down = pillowTaps(photo.height, height)
        }
        else -> {
            across = areaTaps(photo.width, width)
            down = areaTaps(photo.height, height)
        }
    }
    // Pillow rounds to bytes between the two and after them.
    val bytes = resampling == "bicubic" && !grows
    val result = FloatImage(height, width, 3)
    parallel(height) { row ->
        val tap = down[row]
        val sum = FloatArray(width * 3)
        val line = FloatArray(width * 3)
        for (k in tap.weights.indices) {
            acrossRow(photo, tap.first + k, across, line)
            if (bytes) for (i in line.indices) line[i] = (toByte(line[i]).toInt() and 0xff).toFloat()
            for (i in sum.indices) sum[i] += tap.weights[k] * line[i]
        }
        for (i in sum.indices) {
            val value = if (bytes) (toByte(sum[i]).toInt() and 0xff).toFloat() else sum[i]
            result.values[row * width * 3 + i] = (value / 255f).coerceIn(0f, 1f)
        }
    }
    return result
}

private fun acrossRow(photo: Photo, row: Int, across: Array<Taps>, line: FloatArray) {
    val start = row * photo.width * 3
    for (column in across.indices) {
        val tap = across[column]
        var red = 0f
        var green = 0f
        var blue = 0f
        var at = start + tap.first * 3
        for (weight in tap.weights) {
            red += weight * (photo.rgb[at].toInt() and 0xff)
            green += weight * (photo.rgb[at + 1].toInt() and 0xff)
            blue += weight * (photo.rgb[at + 2].toInt() and 0xff)
            at += 3
        }
        line[column * 3] = red
        line[column * 3 + 1] = green
        line[column * 3 + 2] = blue
    }
}

/** Scales floats line by line, then row by row. */
internal fun resize(image: FloatImage, across: Array<Taps>, down: Array<Taps>): FloatImage {
    val channels = image.channels
    val wide = FloatImage(image.height, across.size, channels)
    for (row in 0 until image.height) {
        for (column in across.indices) {
            val tap = across[column]
            for (channel in 0 until channels) {
                var sum = 0f
                for (k in tap.weights.indices) {
                    sum += tap.weights[k] * image.values[(row * image.width + tap.first + k) * channels + channel]
                }
                wide.values[(row * across.size + column) * channels + channel] = sum
            }
        }
    }
    val line = across.size * channels
    val result = FloatImage(down.size, across.size, channels)
    for (row in down.indices) {
        val tap = down[row]
        for (k in tap.weights.indices) {
            val from = (tap.first + k) * line
            for (i in 0 until line) result.values[row * line + i] += tap.weights[k] * wide.values[from + i]
        }
    }
    return result
}
