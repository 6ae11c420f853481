package io.github.bokehtflite.core

import java.io.File
import java.nio.ByteBuffer
import java.security.MessageDigest
import java.util.Random
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class TfliteFileTest {
    private val path = "tests/data/small_full-integer.tflite"
    private val bytes = File(Golden.repository, path).readBytes()

    @Test
    fun `shapes, types, quantization and metadata are read`() {
        val file = Golden.tflite(path)
        assertEquals(listOf(1, 64, 96, 3), file.input.shape)
        assertEquals(TensorInfo.Type.UINT8, file.input.type)
        assertEquals(1 / 255f, file.input.scale, 1e-4f)
        assertEquals(30, file.operators)
        val digest = MessageDigest.getInstance("SHA-256").digest(bytes).joinToString("") { "%02x".format(it) }
        assertEquals(digest, file.sha256)
        val metadata = ModelMetadata.of(file)
        assertEquals("full-integer", metadata.scheme)
        assertEquals("area", metadata.resampling)
        assertEquals(64, metadata.sourceSha256.length)
        assertTrue(file.convolves)
    }

    @Test
    fun `value ranges are read, the output's where it differs`() {
        fun ranges(name: String) = ModelMetadata.of(Golden.tflite("tests/data/$name.tflite")).run { inputRange to outputRange }
        assertEquals(ValueRange.UNIT to ValueRange.UNIT, ranges("small_float32"))
        assertEquals(ValueRange(-1f, 1f) to ValueRange(-1f, 1f), ranges("range_signed"))
        assertEquals(ValueRange(0f, 255f) to ValueRange(0f, 255f), ranges("range_bytes"))
        assertEquals(ValueRange(0f, 255f) to ValueRange.UNIT, ranges("range_bytes_to_unit"))
    }

    @Test
    fun `a model of luminance alone is refused in a line`() {
        val error = assertThrows(InputException::class.java) { ModelMetadata.of(Golden.tflite("tests/data/range_luminance.tflite")) }
        assertTrue(error.message!!.endsWith("takes luminance alone, which this app does not compute; convert an RGB model"), error.message)
    }

    @Test
    fun `a float model has no scale`() {
        val file = Golden.tflite("tests/data/small_float32.tflite")
        assertEquals(TensorInfo.Type.FLOAT32, file.output.type)
        assertEquals(0f, file.output.scale)
    }

    @Test
    fun `what is no tflite, or was not made by bokeh-convert, is refused in a line`() {
        val nonsense = assertThrows(InputException::class.java) { TfliteFile.read("a.jpg", ByteBuffer.wrap(ByteArray(99))) }
        assertEquals("a.jpg: is no .tflite file; choose another", nonsense.message)
        val depth = assertThrows(InputException::class.java) { ModelMetadata.of(Golden.tflite("tests/data/small_rgbd.tflite")) }
        assertTrue("takes a depth map" in depth.message!!)
        val foreign = assertThrows(InputException::class.java) { ModelMetadata.of(Golden.tflite("tests/data/fourier.tflite")) }
        assertTrue("does not say what it is" in foreign.message!!)
    }

    @Test
    fun `a damaged file is an error and nothing worse`() {
        val random = Random(1)
        repeat(2000) {
            val damaged = bytes.copyOf(if (it % 3 == 0) random.nextInt(bytes.size) else bytes.size)
            repeat(8) { if (damaged.isNotEmpty()) damaged[random.nextInt(damaged.size)] = random.nextInt().toByte() }
            repeat(2) { if (damaged.size > 64) damaged[random.nextInt(64)] = random.nextInt().toByte() }
            try {
                ModelMetadata.of(TfliteFile.read("damaged", ByteBuffer.wrap(damaged)))
            } catch (expected: InputException) {
                assertTrue('\n' !in expected.message!!)
            }
        }
    }
}
