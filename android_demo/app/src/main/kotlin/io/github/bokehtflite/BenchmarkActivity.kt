package io.github.bokehtflite

import android.app.Activity
import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.os.BatteryManager
import android.os.Build
import android.os.Bundle
import android.util.Log
import android.view.WindowManager
import io.github.bokehtflite.core.Benchmark
import io.github.bokehtflite.core.InputException
import io.github.bokehtflite.core.Sensors
import java.io.File
import java.util.concurrent.ConcurrentHashMap
import kotlin.concurrent.thread
import org.json.JSONArray
import org.json.JSONObject

/** Measures what `bokeh-bench --device android` requests, without a screen of its own: docs/android-benchmark.md. */
class BenchmarkActivity : Activity() {
    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        window.addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
        val request = intent.getStringExtra("request")?.let(::File)
        val name = intent.getStringExtra("result")
        // Any app may start this one: it writes into its own folder, under a plain name, and reads what all may read.
        if (request == null || name == null || !Regex("[A-Za-z0-9-]{1,64}").matches(name)) {
            Log.e(TAG, "give --es request FOLDER --es result NAME")
            finish()
            return
        }
        if (!running.add(name)) { // two would write into one folder, and slow each other
            Log.e(TAG, "$name: runs already")
            finish()
            return
        }
        val result = File(getExternalFilesDir(null), "bench/$name")
        val policy = Models(applicationContext).policy
        val sensors = PhoneSensors(applicationContext)
        thread(name = "benchmark") {
            try {
                Benchmark(policy, sensors, environment()).run(request, result)
            } catch (error: InputException) {
                Log.e(TAG, error.message ?: "?")
            } finally {
                running -= name
                runOnUiThread(::finish)
            }
        }
    }

    private fun environment(): JSONObject = JSONObject()
        .put("model", "${Build.MANUFACTURER} ${Build.MODEL}")
        .put("system", "Android ${Build.VERSION.RELEASE} (API ${Build.VERSION.SDK_INT})")
        .put("cpu", chip())
        .put("cores", Runtime.getRuntime().availableProcessors())
        .put("abis", JSONArray(Build.SUPPORTED_ABIS))
        .put("tools", JSONObject().put("app", version()).put("tensorflow-lite", org.tensorflow.lite.TensorFlowLite.runtimeVersion()))

    private fun version(): String = packageManager.getPackageInfo(packageName, 0).versionName ?: "?"

    private class PhoneSensors(private val context: Context) : Sensors {
        /** Of the battery: what every phone reports. */
        override fun temperatureC(): Double? {
            val status = context.registerReceiver(null, IntentFilter(Intent.ACTION_BATTERY_CHANGED)) ?: return null
            val tenths = status.getIntExtra(BatteryManager.EXTRA_TEMPERATURE, Int.MIN_VALUE)
            return if (tenths == Int.MIN_VALUE) null else tenths / 10.0
        }

        override fun peakRssBytes(): Long? = File("/proc/self/status").readLines()
            .firstOrNull { it.startsWith("VmHWM:") }
            ?.let { it.filter(Char::isDigit).toLongOrNull() }
            ?.times(1024)
    }

    companion object {
        private const val TAG = "bokeh-bench"

        /** Names of the results that this process is measuring. */
        internal val running: MutableSet<String> = ConcurrentHashMap.newKeySet()
    }
}
