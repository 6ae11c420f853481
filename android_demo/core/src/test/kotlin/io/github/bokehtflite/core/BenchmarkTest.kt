package io.github.bokehtflite.core

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.file.Path
import org.json.JSONArray
import org.json.JSONObject
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

/** The app's side of docs/android-benchmark.md. */
class BenchmarkTest {
    @TempDir lateinit var folder: Path
    private val request get() = folder.resolve("request").toFile()
    private val result get() = folder.resolve("result").toFile()

    private val sensors = object : Sensors {
        override fun temperatureC() = 31.5
        override fun peakRssBytes() = null
    }

    private val phone = RunnerFactory { file, options ->
        if (options.delegate == Delegate.GPU) throw DelegateException("gpu: not on this phone")
        object : Runner {
            override val placement =
                if (options.delegate == Delegate.NNAPI) Placement("", "nnapi", "a device", file.operators, file.operators)
                else if (options.threads == 1) Placement("", "cpu", "a device", 5, file.operators, unsupportedOps = listOf("ADD"))
                else Placement("", "cpu", "a device", null, file.operators, unsupportedOps = null)
            override fun run(input: FloatImage): FloatImage {
                val rounded = if (options.delegate == Delegate.NNAPI) 1e-4f else 0f
                return FloatImage(64, 96, 3, FloatArray(64 * 96 * 3) { input.values[it] * 2 + rounded })
            }
            override fun close() = Unit
        }
    }

    private val store = object : VerdictStore {
        override fun read(key: String): String? = null
        override fun write(key: String, verdict: String) = Unit
        override fun remove(key: String) = Unit
    }

    private fun run(rows: List<Pair<String, String>>, threads: List<Int?> = rows.map { null }) {
        val policy = DelegatePolicy(phone, null, store, 34, "a phone")
        request.mkdirs()
        File(Golden.repository, "tests/data/small_float32.tflite").copyTo(File(request, "small.tflite"))
        File(request, "small.u8").writeBytes(ByteArray(2 * 64 * 96 * 3) { (it % 251).toByte() })
        val requested = JSONArray(
            rows.mapIndexed { i, (model, delegate) ->
                JSONObject().put("model", model).put("delegate", delegate).put("threads", threads[i] ?: JSONObject.NULL)
            },
        )
        val inputs = JSONObject().put("small.tflite", JSONObject().put("file", "small.u8").put("shape", JSONArray(listOf(2, 64, 96, 3))))
        val json = JSONObject().put("schema", Contract.Schemas.ANDROID_REQUEST).put("min_runs", 5).put("min_seconds", 0.0)
            .put("max_warm_up_seconds", 0.1).put("rows", requested).put("inputs", inputs)
        File(request, "request.json").writeText(json.toString())
        Benchmark(policy, sensors, JSONObject().put("model", "a phone")).run(request, result)
    }

    private fun rows() = JSONObject(File(result, "result.json").readText()).getJSONArray("rows")

    @Test
    fun `a row has what the contract says`() {
        run(listOf("small.tflite" to "cpu"))
        val row = rows().getJSONObject(0)
        assertEquals("", row.getString("failure"))
        assertEquals(5, row.getJSONArray("runs_ms").length())
        assertTrue(row.getInt("warm_up_runs") >= 2)
        assertEquals(listOf(31.5, 31.5), row.getJSONArray("temperature_c").map { (it as Number).toDouble() })
        assertTrue(row.isNull("peak_rss_bytes"))
        val placement = row.getJSONObject("placement")
        assertEquals(setOf("requested", "delegate", "device", "delegated_ops", "total_ops", "unsupported_ops", "precision", "notes"), placement.keySet())
        assertEquals("cpu", placement.getString("requested"))
        assertEquals(JSONArray(listOf(2, 64, 96, 3)).toString(), row.getJSONArray("output_shape").toString())
        val drawn = ByteBuffer.wrap(File(result, row.getString("outputs")).readBytes()).order(ByteOrder.LITTLE_ENDIAN)
        assertEquals(2 * 64 * 96 * 3 * 4, drawn.limit())
        assertEquals(2 * 7 / 255f, drawn.getFloat(7 * 4), 1e-6f)
        assertTrue(JSONObject(File(result, "status.json").readText()).getBoolean("finished"))
        assertTrue(result.listFiles()!!.none { it.name.endsWith(".part") })
    }

    @Test
    fun `what a delegate does not report is null`() {
        run(listOf("small.tflite" to "cpu", "small.tflite" to "cpu", "small.tflite" to "nnapi"), listOf(1, null, null))
        val (known, unknown, whole) = List(3) { rows().getJSONObject(it).getJSONObject("placement") }
        assertEquals(whole.getInt("total_ops"), whole.getInt("delegated_ops"))
        assertEquals(5, known.getInt("delegated_ops"))
        assertEquals("ADD", known.getJSONArray("unsupported_ops").getString(0))
        assertTrue(unknown.has("delegated_ops") && unknown.isNull("delegated_ops"))
        assertTrue(unknown.has("unsupported_ops") && unknown.isNull("unsupported_ops"))
    }

    @Test
    fun `what fails is a row with the reason, and the next one is measured`() {
        run(listOf("small.tflite" to "gpu", "gone.tflite" to "cpu", "small.tflite" to "tpu", "small.tflite" to "cpu"))
        val failures = List(4) { rows().getJSONObject(it).getString("failure") }
        assertEquals("gpu: not on this phone", failures[0])
        assertTrue("gone.tflite: cannot be read" in failures[1])
        assertEquals("tpu: this app runs cpu, gpu, nnapi and auto", failures[2])
        assertEquals("", failures[3])
        assertFalse(rows().getJSONObject(0).has("runs_ms"))
    }

    @Test
    fun `auto takes the CPU where there is no GPU, and says so`() {
        run(listOf("small.tflite" to "auto"))
        val placement = rows().getJSONObject(0).getJSONObject("placement")
        assertEquals("auto", placement.getString("requested"))
        assertEquals("cpu", placement.getString("delegate"))
        assertEquals("gpu: not on this phone", placement.getJSONArray("notes").getString(0))
    }

    @Test
    fun `a request of another version is refused`() {
        request.mkdirs()
        File(request, "request.json").writeText("""{"schema": "bokeh-tflite/android-request/9"}""")
        val policy = DelegatePolicy(phone, null, store, 34, "")
        val error = assertThrows(InputException::class.java) { Benchmark(policy, sensors, JSONObject()).run(request, result) }
        assertTrue("this app reads bokeh-tflite/android-request/2" in error.message!!)
    }

    @Test
    fun `warming up ends when the times are steady`() {
        val times = mutableListOf(90.0, 50.0, 30.0, 20.0, 20.1, 20.0, 20.1, 20.0, 20.0, 20.0)
        assertEquals(8, Benchmark.warmUp(10.0) { times.removeFirst() }.size)
    }
}
