package io.github.bokehtflite.core

import java.io.File
import java.nio.file.Path
import org.json.JSONObject

/**
 * The app's benchmark on this machine, for the test that holds both sides of docs/android-benchmark.md together:
 * `BenchmarkMain LIBRARY REQUEST_FOLDER RESULT_FOLDER`.
 */
object BenchmarkMain {
    @JvmStatic
    fun main(arguments: Array<String>) {
        val (library, request, result) = arguments
        val factory = RunnerFactory { file, options ->
            if (options.delegate != Delegate.CPU) throw DelegateException("${options.delegate.label}: not on this machine")
            LitertRunner(Path.of(library), File(request, file.name).toPath(), file)
        }
        val store = object : VerdictStore {
            override fun read(key: String): String? = null
            override fun write(key: String, verdict: String) = Unit
            override fun remove(key: String) = Unit
        }
        val sensors = object : Sensors {
            override fun temperatureC(): Double? = null
            override fun peakRssBytes(): Long? = null
        }
        val policy = DelegatePolicy(factory, null, store, Contract.Nnapi.LAST_API_LEVEL + 1, "this machine")
        val environment = JSONObject().put("model", "a JVM").put("system", "Linux").put("tools", JSONObject())
        Benchmark(policy, sensors, environment).run(File(request), File(result))
    }
}
