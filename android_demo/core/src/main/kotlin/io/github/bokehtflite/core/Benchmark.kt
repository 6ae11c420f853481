package io.github.bokehtflite.core

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel
import org.json.JSONArray
import org.json.JSONException
import org.json.JSONObject

/** What the phone reports of itself while it is measured; null where it does not. */
interface Sensors {
    fun temperatureC(): Double?
    fun peakRssBytes(): Long?
}

/**
 * The app's side of docs/android-benchmark.md: measures what `request.json` requests.
 *
 * @param policy opens the models, each on the requested delegate alone.
 * @param environment of the phone, for the result.
 */
class Benchmark(
    private val policy: DelegatePolicy,
    private val sensors: Sensors,
    private val environment: JSONObject,
) {
    /** Measures, and writes `result.json` after each row; throws [InputException] if the request is wrong. */
    fun run(requestFolder: File, resultFolder: File) {
        val request = read(File(requestFolder, "request.json"))
        resultFolder.mkdirs()
        val rows = JSONArray()
        val requested = request.getJSONArray("rows")
        for (i in 0 until requested.length()) {
            val row = requested.getJSONObject(i)
            val progress = "${i + 1} of ${requested.length()}: ${row.getString("model")} on ${row.getString("delegate")}"
            status(resultFolder, progress, finished = false)
            rows.put(measured(requestFolder, request, row, resultFolder, i))
            val result = JSONObject().put("schema", Contract.Schemas.ANDROID_RESULT).put("environment", environment).put("rows", rows)
            write(File(resultFolder, "result.json"), result)
        }
        status(resultFolder, "", finished = true)
    }

    private fun measured(folder: File, request: JSONObject, row: JSONObject, results: File, number: Int): JSONObject {
        val result = JSONObject(row.toString())
        try {
            val requested = row.getString("delegate")
            val delegate = Delegate.of(requested)
            if (delegate == null && requested != AUTO) throw DelegateException("$requested: this app runs cpu, gpu, nnapi and auto")
            val threads = if (row.isNull("threads")) null else row.getInt("threads")
            val path = File(folder, row.getString("model"))
            val open = { file: TfliteFile ->
                if (delegate == null) policy.open(file, Delegate.GPU, threads) else policy.openAlone(file, delegate, threads)
            }
            // The picture is checked once for each model and delegate, which is no part of loading.
            open(TfliteFile.read(path.name, map(path))).close()
            val start = System.nanoTime()
            val file = TfliteFile.read(path.name, map(path))
            open(file).use { opened ->
                result.put("load_ms", (System.nanoTime() - start) / 1e6)
                time(file, opened, request, result)
                outputs(folder, request, row.getString("model"), opened.runner, results, number, result)
                result.put("placement", json(opened.placement.copy(requested = requested)))
            }
            result.put("failure", "").put("notes", JSONArray())
            return result
        } catch (error: DelegateException) {
            return failed(row, error.message ?: "refused")
        } catch (error: InputException) {
            return failed(row, error.message ?: "wrong input")
        } catch (error: java.io.IOException) {
            return failed(row, "${row.getString("model")}: cannot be read (${error.message})")
        }
    }

    /** The row and why it failed: what was measured before is left out. */
    private fun failed(row: JSONObject, why: String): JSONObject = JSONObject(row.toString()).put("failure", why)

    private fun time(file: TfliteFile, opened: CheckedRunner, request: JSONObject, result: JSONObject) {
        val (height, width, channels) = file.input.shape.drop(1)
        val random = java.util.Random(0)
        val image = FloatImage(height, width, channels, FloatArray(file.input.size) { random.nextFloat() })
        val turn = {
            val start = System.nanoTime()
            opened.runner.run(image)
            (System.nanoTime() - start) / 1e6
        }
        val warm = warmUp(request.getDouble("max_warm_up_seconds"), turn)
        val before = sensors.temperatureC()
        val times = mutableListOf<Double>()
        val seconds = request.getDouble("min_seconds")
        while (times.size < request.getInt("min_runs") || (times.sum() < seconds * 1000 && times.size < Contract.Benchmark.MAX_RUNS)) {
            times += turn()
        }
        val after = sensors.temperatureC()
        result.put("first_inference_ms", warm.first()).put("warm_up_runs", warm.size).put("runs_ms", JSONArray(times))
        result.put("peak_rss_bytes", sensors.peakRssBytes() ?: JSONObject.NULL)
        val degrees = if (before == null || after == null) JSONObject.NULL else JSONArray(listOf(before, after))
        result.put("temperature_c", degrees)
    }

    private fun outputs(
        folder: File, request: JSONObject, model: String, runner: RangedRunner, results: File, number: Int, result: JSONObject,
    ) {
        result.put("outputs", JSONObject.NULL).put("output_shape", JSONObject.NULL)
        val inputs = request.getJSONObject("inputs").optJSONObject(model) ?: return
        val shape = inputs.getJSONArray("shape")
        val (count, height, width, channels) = List(4) { shape.getInt(it) }
        val size = height * width * channels
        val pixels = map(File(folder, inputs.getString("file")))
        if (pixels.limit() != count * size) throw InputException("${inputs.getString("file")}: has another size than its shape")
        val name = "$number.f32"
        val whole = File(results, "$name.part")
        var last: FloatImage? = null
        whole.outputStream().use { out ->
            repeat(count) { i ->
                val image = FloatImage(height, width, channels, FloatArray(size) { unit(pixels.get(i * size + it)) })
                last = runner.runRaw(image).also { picture ->
                    val bytes = ByteBuffer.allocate(picture.values.size * 4).order(ByteOrder.LITTLE_ENDIAN)
                    bytes.asFloatBuffer().put(picture.values)
                    out.write(bytes.array())
                }
            }
        }
        whole.renameTo(File(results, name))
        last?.let {
            result.put("outputs", name).put("output_shape", JSONArray(listOf(count, it.height, it.width, it.channels)))
        }
    }

    private fun read(path: File): JSONObject {
        val request = try {
            JSONObject(path.readText())
        } catch (error: java.io.IOException) {
            throw InputException("$path: cannot be read (${error.message})")
        } catch (error: JSONException) {
            throw InputException("$path: is no JSON (${error.message})")
        }
        if (request.optString("schema") != Contract.Schemas.ANDROID_REQUEST) {
            throw InputException("$path: of schema ${request.optString("schema")}, this app reads ${Contract.Schemas.ANDROID_REQUEST}")
        }
        return request
    }

    private fun status(folder: File, progress: String, finished: Boolean) =
        write(File(folder, "status.json"), JSONObject().put("schema", Contract.Schemas.ANDROID_STATUS).put("progress", progress).put("finished", finished))

    companion object {
        private const val AUTO = "auto"
        private const val WINDOW = Contract.Benchmark.WARM_UP_WINDOW_RUNS

        /** Runs until the medians of the last three runs and of the three before differ by 2 % at most. */
        internal fun warmUp(seconds: Double, turn: () -> Double): List<Double> {
            val times = mutableListOf(turn(), turn())
            while (times.sum() < seconds * 1000 && !steady(times)) times += turn()
            return times
        }

        private fun steady(times: List<Double>): Boolean {
            if (times.size < 2 * WINDOW) return false
            val now = times.takeLast(WINDOW).sorted()[WINDOW / 2]
            val before = times.dropLast(WINDOW).takeLast(WINDOW).sorted()[WINDOW / 2]
            return kotlin.math.abs(now / before - 1) <= Contract.Benchmark.WARM_UP_TOLERANCE
        }

        private fun json(placement: Placement): JSONObject = JSONObject()
            .put("requested", placement.requested)
            .put("delegate", placement.delegate)
            .put("device", placement.device)
            .put("delegated_ops", placement.delegatedOps ?: JSONObject.NULL)
            .put("total_ops", placement.totalOps)
            .put("unsupported_ops", placement.unsupportedOps?.let { JSONArray(it) } ?: JSONObject.NULL)
            .put("precision", placement.precision)
            .put("notes", JSONArray(placement.notes))

        /** Under another name first: a reader never sees half a file. */
        private fun write(path: File, json: JSONObject) {
            val whole = File(path.path + ".part")
            whole.writeText(json.toString(1))
            whole.renameTo(path)
        }

        private fun unit(value: Byte): Float = (value.toInt() and 0xff) / 255f

        private fun map(path: File): ByteBuffer =
            java.io.FileInputStream(path).use { it.channel.map(FileChannel.MapMode.READ_ONLY, 0, path.length()) }
    }
}
