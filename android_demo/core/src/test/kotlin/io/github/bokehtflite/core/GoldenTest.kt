package io.github.bokehtflite.core

import java.io.File
import org.json.JSONObject
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.DynamicTest.dynamicTest
import org.junit.jupiter.api.TestFactory

/** Kotlin does what Python does, with the network's output recorded. */
class GoldenTest {
    @TestFactory
    fun `photos are scaled as Python scales them`(): List<DynamicTest> = Golden.entries("scales").map { entry ->
        dynamicTest(entry.getString("name")) {
            val size = entry.getJSONArray("size")
            val ours = scale(Golden.photo(entry), size.getInt(0), size.getInt(1), entry.getString("resampling"))
            // Pillow's bytes come from fixed-point weights: one step of 255 may be off.
            val allowed = if (entry.getString("resampling") == "bicubic") 1.01f / 255 else 1e-4f
            val off = Golden.largest(ours.values, Golden.floats(entry, "f32"))
            assertTrue(off <= allowed, "off by ${off * 255} of 255")
        }
    }

    @TestFactory
    fun `the network's input and the joined result are Python's`(): List<DynamicTest> =
        Golden.entries("renderings").map { entry -> dynamicTest(entry.getString("name")) { compare(entry) } }

    private fun compare(entry: JSONObject) {
        val shape = entry.getJSONArray("output_shape")
        val output = FloatImage(shape.getInt(0), shape.getInt(1), shape.getInt(2), Golden.floats(entry, "output"))
        val replay = Replay(output)
        val photo = Golden.photo(entry)
        val file = Golden.tflite(entry.getString("model"))
        Pipeline(file, RangedRunner(replay, file)).render(photo, entry.getDouble("strength").toFloat())
        val fed = replay.inputs.single().values
        val white = Golden.floats(entry, "tensor").maxOf { kotlin.math.abs(it) }.coerceAtLeast(1f) // of the model's input range
        assertTrue(Golden.largest(fed, Golden.floats(entry, "tensor")) <= 1e-4f * white, "the input")
        val expected = Golden.bytes(entry, "result")
        assertTrue(Golden.largest(photo.rgb, expected) <= 1, "off by ${Golden.largest(photo.rgb, expected)}")
        val different = photo.rgb.indices.count { photo.rgb[it] != expected[it] }
        assertTrue(different <= photo.rgb.size / 100, "$different of ${photo.rgb.size} values differ")
    }

    @org.junit.jupiter.api.Test
    fun `the golden data has models of other value ranges`() {
        val tensors = Golden.entries("renderings").map { Golden.floats(it, "tensor") }
        assertTrue(tensors.any { tensor -> tensor.min() < -0.1f }, "none of -1 to 1")
        assertTrue(tensors.count { tensor -> tensor.max() > 100f } == 2, "none of 0 to 255")
    }

    @org.junit.jupiter.api.Test
    fun `the golden data has each bundled model, as it is listed`() {
        val listed = File(Golden.repository, "android_demo/offline/models.sha256").readLines().associate { line ->
            line.substringAfterLast(' ') to line.substringBefore(' ')
        }
        val rendered = Golden.entries("renderings").map { it.getString("model") }.toSet()
            .map { it.substringAfterLast('/') to Golden.tflite(it) }.filter { (name, _) -> name in listed }
        assertEquals(listed, rendered.associate { (name, file) -> name to file.sha256 })
        assertEquals(setOf("float16", "int8"), rendered.map { (_, file) -> ModelMetadata.of(file).scheme }.toSet())
    }

    @org.junit.jupiter.api.Test
    fun `the golden data is not trivial`() {
        val changed = Golden.entries("renderings").count { !Golden.bytes(it, "rgb").contentEquals(Golden.bytes(it, "result")) }
        assertTrue(changed >= 12, "only $changed photos are changed")
        assertEquals(20, Golden.entries("renderings").size)
    }
}
