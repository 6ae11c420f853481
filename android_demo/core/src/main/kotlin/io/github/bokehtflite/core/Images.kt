package io.github.bokehtflite.core

import kotlin.math.log10

/** Floats `[height, width, channels]`, rows first. */
class FloatImage(val height: Int, val width: Int, val channels: Int, val values: FloatArray) {
    constructor(height: Int, width: Int, channels: Int) :
        this(height, width, channels, FloatArray(height * width * channels))

    init {
        require(values.size == height * width * channels) { "${values.size} values for $height x $width x $channels" }
    }

    fun sameShape(other: FloatImage): Boolean =
        height == other.height && width == other.width && channels == other.channels
}

/** A photo: RGB bytes `[height, width, 3]`, upright. */
class Photo(val height: Int, val width: Int, val rgb: ByteArray) {
    init {
        require(rgb.size == height * width * 3) { "${rgb.size} bytes for $height x $width x 3" }
    }

    /** Its values in 0 to 1. */
    fun toUnit(): FloatImage =
        FloatImage(height, width, 3, FloatArray(rgb.size) { (rgb[it].toInt() and 0xff) / 255f })
}

/** Where a photo lies within a network's picture, in pixels: centred, its shape kept. */
data class Frame(val top: Int, val left: Int, val height: Int, val width: Int) {
    /** The same frame in a picture of [factor] times the height and width. */
    fun scaled(factor: Double): Frame =
        Frame(round(top * factor), round(left * factor), maxOf(1, round(height * factor)), maxOf(1, round(width * factor)))

    /** What lies in the frame. */
    fun crop(image: FloatImage): FloatImage {
        val cropped = FloatImage(height, width, image.channels)
        for (row in 0 until height) {
            val from = ((top + row) * image.width + left) * image.channels
            image.values.copyInto(cropped.values, row * width * image.channels, from, from + width * image.channels)
        }
        return cropped
    }

    /**
     * Puts a picture of the frame's size into one of [networkHeight] x [networkWidth]; the margins mirror it, so that
     * its statistics, which instance norm sees, stay.
     */
    fun pad(image: FloatImage, networkHeight: Int, networkWidth: Int): FloatImage {
        val filled = FloatImage(networkHeight, networkWidth, image.channels)
        for (row in 0 until networkHeight) {
            val fromRow = mirrored(row - top, height)
            for (column in 0 until networkWidth) {
                val from = (fromRow * width + mirrored(column - left, width)) * image.channels
                val to = (row * networkWidth + column) * image.channels
                image.values.copyInto(filled.values, to, from, from + image.channels)
            }
        }
        return filled
    }

    companion object {
        /** The largest frame of a photo's shape. */
        fun within(photoHeight: Int, photoWidth: Int, networkHeight: Int, networkWidth: Int): Frame {
            val factor = minOf(networkHeight.toDouble() / photoHeight, networkWidth.toDouble() / photoWidth)
            val height = minOf(networkHeight, maxOf(1, round(photoHeight * factor)))
            val width = minOf(networkWidth, maxOf(1, round(photoWidth * factor)))
            return Frame((networkHeight - height) / 2, (networkWidth - width) / 2, height, width)
        }
    }
}

/** `-10 log10(mean squared error)` in dB, peak 1.0, no border crop; infinity for identical pictures. */
fun psnr(image: FloatImage, reference: FloatImage): Double {
    require(image.sameShape(reference)) { "shapes differ" }
    var sum = 0.0
    for (i in image.values.indices) {
        val error = image.values[i].toDouble() - reference.values[i]
        sum += error * error
    }
    val mean = sum / image.values.size
    return if (mean == 0.0) Double.POSITIVE_INFINITY else -10 * log10(mean)
}

/** The index within `0 until size` that a mirror at the edges shows at [index]; edges are shown twice. */
internal fun mirrored(index: Int, size: Int): Int {
    val around = Math.floorMod(index, 2 * size)
    return if (around < size) around else 2 * size - 1 - around
}

/** Half to even, as Python rounds. */
internal fun round(value: Double): Int = Math.rint(value).toInt()

/** A float as a byte: rounded half to even, clipped. */
internal fun toByte(value: Float): Byte = Math.rint(value.toDouble()).coerceIn(0.0, 255.0).toInt().toByte()
