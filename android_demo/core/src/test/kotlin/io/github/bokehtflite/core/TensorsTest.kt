package io.github.bokehtflite.core

import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Test

class TensorsTest {
    private val values = floatArrayOf(-1f, 0f, 0.25f, 0.5f, 1f, 2f)
    private val image = FloatImage(1, 2, 3, values)

    private fun tensor(type: TensorInfo.Type, scale: Float, zero: Int) = TensorInfo(listOf(1, 1, 2, 3), type, scale, zero)

    private fun stored(tensor: TensorInfo): ByteBuffer {
        val buffer = ByteBuffer.allocate(Tensors.bytes(tensor)).order(ByteOrder.LITTLE_ENDIAN)
        Tensors.write(image, tensor, buffer)
        return buffer
    }

    @Test
    fun `floats are as they are`() {
        val tensor = tensor(TensorInfo.Type.FLOAT32, 0f, 0)
        assertArrayEquals(values, Tensors.read(stored(tensor), tensor).values)
    }

    @Test
    fun `integers are scaled, rounded half to even and clipped`() {
        val bytes = stored(tensor(TensorInfo.Type.UINT8, 1 / 254f, 0))
        assertEquals(listOf(0, 0, 64, 127, 254, 255), List(6) { bytes.get(it).toInt() and 0xff }) // 63.5 becomes 64
        val signed = stored(tensor(TensorInfo.Type.INT8, 1 / 254f, -128))
        assertEquals(listOf(-128, -128, -64, -1, 126, 127), List(6) { signed.get(it).toInt() })
        val wide = stored(tensor(TensorInfo.Type.INT16, 0.5f, 0))
        assertEquals(listOf<Short>(-2, 0, 0, 1, 2, 4), List(6) { wide.getShort(2 * it) })
    }

    @Test
    fun `integers without a scale are as they are`() {
        val tensor = tensor(TensorInfo.Type.UINT8, 0f, 0)
        assertArrayEquals(floatArrayOf(0f, 0f, 0f, 0f, 1f, 2f), Tensors.read(stored(tensor), tensor).values)
    }

    @Test
    fun `what is read is what was stored`() {
        for (type in listOf(TensorInfo.Type.UINT8, TensorInfo.Type.INT8, TensorInfo.Type.INT16)) {
            val tensor = tensor(type, 0.25f, 4)
            assertArrayEquals(floatArrayOf(-1f, 0f, 0.25f, 0.5f, 1f, 2f), Tensors.read(stored(tensor), tensor).values, type.name)
        }
    }

    @Test
    fun `an image of another size is refused`() {
        val tensor = TensorInfo(listOf(1, 2, 2, 3), TensorInfo.Type.FLOAT32, 0f, 0)
        assertThrows(IllegalArgumentException::class.java) { Tensors.write(image, tensor, ByteBuffer.allocate(99)) }
    }
}
