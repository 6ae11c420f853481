package io.github.bokehtflite.core

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs
import org.json.JSONObject
import org.junit.jupiter.api.Assumptions.assumeTrue

/** What Python's runtime does: see `golden.py`. */
object Golden {
    val repository = File(System.getProperty("bokeh.repository") ?: "../..")
    private val folder = System.getProperty("bokeh.golden")?.let(::File)

    val data: JSONObject by lazy {
        assumeTrue(folder != null && File(folder, "golden.json").isFile, "no golden data: run golden.py, -Dbokeh.golden")
        JSONObject(File(folder, "golden.json").readText())
    }

    /** A file of the contract, which needs no golden data. */
    fun contract(name: String) = JSONObject(File(repository, "runtime/bokeh_runtime/contract/$name").readText())

    fun entries(list: String): List<JSONObject> = objects(data, list)

    fun photo(entry: JSONObject): Photo {
        val size = entry.getJSONArray("photo")
        return Photo(size.getInt(0), size.getInt(1), bytes(entry, "rgb"))
    }

    fun bytes(entry: JSONObject, suffix: String): ByteArray = File(folder, "${entry.getString("name")}.$suffix").readBytes()

    fun floats(entry: JSONObject, suffix: String): FloatArray {
        val bytes = ByteBuffer.wrap(bytes(entry, suffix)).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
        return FloatArray(bytes.remaining(), bytes::get)
    }

    fun tflite(path: String): TfliteFile {
        val bytes = File(repository, path).readBytes()
        return TfliteFile.read(path, ByteBuffer.allocateDirect(bytes.size).put(bytes).flip())
    }

    fun largest(ours: FloatArray, theirs: FloatArray): Float {
        require(ours.size == theirs.size) { "${ours.size} values, not ${theirs.size}" }
        return ours.indices.maxOf { abs(ours[it] - theirs[it]) }
    }

    fun largest(ours: ByteArray, theirs: ByteArray): Int {
        require(ours.size == theirs.size) { "${ours.size} bytes, not ${theirs.size}" }
        return ours.indices.maxOf { abs((ours[it].toInt() and 0xff) - (theirs[it].toInt() and 0xff)) }
    }
}

internal fun objects(data: JSONObject, list: String): List<JSONObject> =
    data.getJSONArray(list).let { all -> List(all.length(), all::getJSONObject) }

/** A runner with a recorded output. */
class Replay(private val output: FloatImage, val inputs: MutableList<FloatImage> = mutableListOf()) : Runner {
    override val placement = Placement("cpu", "cpu", "a recording", 1, 1)

    override fun run(input: FloatImage): FloatImage = output.also { inputs += input }

    override fun close() = Unit
}
