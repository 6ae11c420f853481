package io.github.bokehtflite.core

import java.nio.ByteBuffer

/** Real values in and out of a tensor's memory: scaled, rounded and clipped where it holds integers. */
object Tensors {
    fun bytes(tensor: TensorInfo): Int = tensor.size * tensor.type.bytes

    /** Writes an image into a buffer of the tensor's size, from its start. */
    fun write(image: FloatImage, tensor: TensorInfo, buffer: ByteBuffer) {
        require(image.values.size == tensor.size) { "${image.values.size} values for a tensor of ${tensor.size}" }
        buffer.rewind()
        when (tensor.type) {
            TensorInfo.Type.FLOAT32 -> buffer.asFloatBuffer().put(image.values)
            TensorInfo.Type.UINT8 -> for (value in image.values) buffer.put(stored(value, tensor, 0, 255).toByte())
            TensorInfo.Type.INT8 -> for (value in image.values) buffer.put(stored(value, tensor, -128, 127).toByte())
            TensorInfo.Type.INT16 -> for (value in image.values) buffer.putShort(stored(value, tensor, -32768, 32767).toShort())
        }
        buffer.rewind()
    }

    /** Reads `[1, height, width, channels]` from a buffer's start. */
    fun read(buffer: ByteBuffer, tensor: TensorInfo): FloatImage {
        val (height, width, channels) = tensor.shape.drop(1)
        val image = FloatImage(height, width, channels)
        buffer.rewind()
        when (tensor.type) {
            TensorInfo.Type.FLOAT32 -> buffer.asFloatBuffer().get(image.values)
            TensorInfo.Type.UINT8 -> image.values.indices.forEach { image.values[it] = real(buffer.get().toInt() and 0xff, tensor) }
            TensorInfo.Type.INT8 -> image.values.indices.forEach { image.values[it] = real(buffer.get().toInt(), tensor) }
            TensorInfo.Type.INT16 -> image.values.indices.forEach { image.values[it] = real(buffer.getShort().toInt(), tensor) }
        }
        buffer.rewind()
        return image
    }

    private fun stored(value: Float, tensor: TensorInfo, low: Int, high: Int): Int =
        (round((value / scale(tensor)).toDouble()) + tensor.zeroPoint).coerceIn(low, high)

    private fun real(value: Int, tensor: TensorInfo): Float = (value - tensor.zeroPoint) * scale(tensor)

    /** A scale of 0 stands for integers as they are. */
    private fun scale(tensor: TensorInfo): Float = if (tensor.scale == 0f) 1f else tensor.scale
}
