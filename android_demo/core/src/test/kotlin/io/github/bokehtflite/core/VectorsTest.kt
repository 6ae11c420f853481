package io.github.bokehtflite.core

import org.json.JSONArray
import org.json.JSONObject
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** Preparing and joining give the contract's small vectors, which Python gives too; the golden tests have whole photos. */
class VectorsTest {
    private val prepare = Golden.contract("vectors/prepare.json")
    private val join = Golden.contract("vectors/join.json")

    @Test
    fun `a photo lies in the network's input as the contract says`() {
        for (case in objects(prepare, "frames")) {
            val (height, width) = integers(case, "photo")
            val (rows, columns) = integers(case, "network")
            val frame = Frame.within(height, width, rows, columns)
            assertEquals(frame(case, "frame"), frame, "$case")
            assertEquals(frame(case, "output_frame"), frame.scaled(case.getDouble("output_scale")), "$case")
        }
    }

    @Test
    fun `margins mirror`() {
        val margins = prepare.getJSONObject("margins")
        val expected = floats(margins, "padded")
        val padded = frame(margins, "frame").pad(floats(margins, "image"), expected.height, expected.width)
        assertTrue(Golden.largest(padded.values, expected.values) <= 1e-6f)
    }

    @Test
    fun `photos are scaled as the contract says`() {
        val photo = photo(prepare, "photo")
        for (case in objects(prepare, "scaled")) {
            val expected = floats(case, "image")
            val resampling = case.getString("resampling")
            val ours = scale(photo, expected.height, expected.width, resampling)
            // Pillow's bytes come from fixed-point weights: one step of 255 may be off.
            val allowed = if (resampling == "bicubic") 1.01f / 255 else 1e-5f
            val off = Golden.largest(ours.values, expected.values)
            assertTrue(off <= allowed, "$resampling ${expected.height} x ${expected.width}: off by ${off * 255} of 255")
        }
    }

    @Test
    fun `what is in focus is the contract's`() {
        val focus = join.getJSONObject("focus")
        val ours = inFocus(floats(focus, "network_input"), floats(focus, "network_output"))
        val expected = floats(focus, "focus")
        assertTrue(Golden.largest(ours.values, expected.values) <= 1e-4f)
        assertTrue(expected.values.min() < 0.1f && expected.values.max() > 0.9f, "not trivial")
    }

    @Test
    fun `outputs are joined as the contract says`() {
        for (case in objects(join, "joined")) {
            for (result in objects(case, "results")) {
                val photo = photo(case, "photo")
                join(photo, floats(case, "network_output"), null, result.getDouble("strength").toFloat())
                val off = Golden.largest(photo.rgb, photo(result, "image").rgb)
                assertTrue(off <= 1, "${photo.height} x ${photo.width}, strength ${result.getDouble("strength")}: off by $off")
            }
        }
    }

    private fun integers(data: JSONObject, name: String): List<Int> =
        data.getJSONArray(name).let { all -> List(all.length(), all::getInt) }

    private fun frame(data: JSONObject, name: String): Frame {
        val (top, left, height, width) = integers(data, name)
        return Frame(top, left, height, width)
    }

    private fun values(image: JSONObject): JSONArray = image.getJSONArray("values")

    private fun floats(data: JSONObject, name: String): FloatImage {
        val image = data.getJSONObject(name)
        val (height, width, channels) = integers(image, "shape")
        val values = values(image)
        return FloatImage(height, width, channels, FloatArray(values.length()) { values.getDouble(it).toFloat() })
    }

    private fun photo(data: JSONObject, name: String): Photo {
        val image = data.getJSONObject(name)
        val (height, width) = integers(image, "shape")
        val values = values(image)
        return Photo(height, width, ByteArray(values.length()) { values.getInt(it).toByte() })
    }
}
