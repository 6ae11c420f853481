package io.github.bokehtflite

import android.content.Context
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.net.Uri
import android.os.Handler
import android.os.Looper
import io.github.bokehtflite.core.CancelledException
import io.github.bokehtflite.core.Delegate
import io.github.bokehtflite.core.DelegateException
import io.github.bokehtflite.core.InputException
import io.github.bokehtflite.core.OpenedModel
import io.github.bokehtflite.core.Photo
import io.github.bokehtflite.core.Pipeline
import io.github.bokehtflite.core.Timings
import java.io.File
import java.io.IOException
import java.io.OutputStream
import java.util.Locale
import java.util.concurrent.Executors
import java.util.concurrent.atomic.AtomicInteger
import org.json.JSONException
import org.json.JSONObject

/** What is requested: a photo, a model of [Models.bundled] (null for the automatic choice), and where to run it. */
data class Order(val uri: Uri, val model: String?, val delegate: Delegate)

/** What is on the screen. */
data class Shown(
    val before: Bitmap? = null,
    val after: Bitmap? = null,
    val result: File? = null,
    val text: String? = null,
    val working: Boolean = false,
)

/**
 * Renders photos one after the other, off the main thread. Lives as long as the process, so a rotation does not disturb
 * it; a new order ends the one before.
 */
class Studio private constructor(private val context: Context) {
    /** Called on the main thread; null while no activity is there. */
    var onShown: ((Shown) -> Unit)? = null
    var shown = Shown()
        private set

    /** The last one. */
    var order: Order? = null
        private set

    val models = Models(context)
    private val worker = Executors.newSingleThreadExecutor()
    private val main = Handler(Looper.getMainLooper())
    private val latest = AtomicInteger()
    private var open: Opened? = null

    /** An open model, and the order's choices that led to it. */
    private class Opened(val chosen: String?, val delegate: Delegate, val model: OpenedModel)

    fun start(order: Order) {
        val number = latest.incrementAndGet()
        this.order = order
        show(shown.copy(working = true, text = context.getString(R.string.working)))
        worker.execute {
            val cancelled = { latest.get() != number }
            if (cancelled()) return@execute
            val outcome = try {
                render(order, cancelled)
            } catch (error: CancelledException) {
                return@execute
            } catch (error: OutOfMemoryError) {
                failed(context.getString(R.string.too_large))
            } catch (error: IOException) {
                failed(context.getString(R.string.unreadable, error.message?.lines()?.first() ?: "?"))
            } catch (error: DelegateException) {
                failed(context.getString(R.string.no_runner, error.message))
            } catch (error: InputException) {
                failed(error.message ?: "?")
            }
            main.post { if (!cancelled()) show(outcome) }
        }
    }

    /** Shows what an earlier process left of an order; if that ended before its result was there, starts it again. */
    fun restore(order: Order) {
        if (latest.get() > 0) return // it is this process that the order was given to
        val number = latest.incrementAndGet()
        this.order = order
        worker.execute {
            val left = left(order)
            main.post { if (latest.get() == number) if (left == null) start(order) else show(left) }
        }
    }

    private fun left(order: Order): Shown? {
        val said = try {
            JSONObject(File(context.cacheDir, SAID).readText())
        } catch (error: IOException) {
            return null
        } catch (error: JSONException) {
            return null
        }
        if (said.optString(ORDER) != order.toString()) return null
        val result = File(context.cacheDir, RESULT)
        val before = BitmapFactory.decodeFile(File(context.cacheDir, BEFORE).path) ?: return null
        val after = BitmapFactory.decodeFile(File(context.cacheDir, AFTER).path) ?: return null
        return if (result.isFile) Shown(before, after, result, said.optString(TEXT)) else null
    }

    private fun render(order: Order, cancelled: () -> Boolean): Shown {
        val start = System.nanoTime()
        val decoded = Photos.decode(context.contentResolver, order.uri)
        val bitmap = decoded.bitmap
        val before = Photos.preview(bitmap, longest())
        val photo = Photos.photo(bitmap)
        val decodedMs = (System.nanoTime() - start) / 1e6
        if (cancelled()) throw CancelledException()
        val (opened, pipeline, stages) = rendered(order, photo, cancelled)
        val encodeStart = System.nanoTime()
        Photos.write(photo, bitmap)
        val result = File(context.cacheDir, RESULT)
        val said = File(context.cacheDir, SAID)
        said.delete() // it is there only beside the pictures that it belongs to
        jpeg(bitmap, result)
        val encodeMs = (System.nanoTime() - encodeStart) / 1e6
        val after = Photos.preview(bitmap, longest())
        jpeg(before, File(context.cacheDir, BEFORE))
        jpeg(after, File(context.cacheDir, AFTER))
        bitmap.recycle()
        val timings = linkedMapOf("decode" to decodedMs)
        stages.forEach { (name, ms) -> timings[name.removeSuffix("_ms")] = ms }
        timings["encode"] = encodeMs
        val text = describe(decoded, opened, pipeline, timings)
        written(said) { it.write(JSONObject().put(ORDER, order.toString()).put(TEXT, text).toString().toByteArray()) }
        return Shown(before, after, result, text)
    }

    /** Renders a photo into itself: on the CPU, visibly, if a delegate fails while it runs. */
    private fun rendered(order: Order, photo: Photo, cancelled: () -> Boolean): Triple<OpenedModel, Pipeline, Timings> {
        val model = opened(order)
        try {
            return rendered(model, photo, cancelled)
        } catch (error: DelegateException) {
            close() // what has failed once is not run again
            if (model.runner.placement.delegate == Delegate.CPU.label) throw error
            val why = error.message ?: order.delegate.label
            // Nothing is written into the photo before the network has run.
            return rendered(kept(order, models.choice.openInstead(order.model, order.delegate, why)), photo, cancelled)
        }
    }

    private fun rendered(model: OpenedModel, photo: Photo, cancelled: () -> Boolean): Triple<OpenedModel, Pipeline, Timings> {
        val pipeline = Pipeline(model.file, model.runner.runner)
        return Triple(model, pipeline, pipeline.render(photo, cancelled = cancelled))
    }

    private fun opened(order: Order): OpenedModel {
        open?.let { if (it.chosen == order.model && it.delegate == order.delegate) return it.model }
        close()
        return kept(order, models.choice.open(order.model, order.delegate))
    }

    private fun kept(order: Order, model: OpenedModel): OpenedModel = model.also { open = Opened(order.model, order.delegate, it) }

    private fun close() {
        val closing = open ?: return
        open = null
        closing.model.runner.close()
    }

    private fun describe(decoded: Decoded, opened: OpenedModel, pipeline: Pipeline, timings: Map<String, Double>): String {
        val place = opened.runner.placement
        val lines = mutableListOf(
            context.getString(
                R.string.ran_on, place.delegate.uppercase(), place.device,
                place.delegatedOps?.toString() ?: context.getString(R.string.unknown), place.totalOps,
            ),
        )
        if (place.delegate != place.requested) lines += context.getString(R.string.requested, place.requested.uppercase())
        lines += place.notes
        opened.runner.psnr?.let {
            val text = if (it.isInfinite()) context.getString(R.string.identical) else "%.1f dB".format(Locale.ROOT, it)
            lines += context.getString(R.string.fidelity, text)
        }
        lines += timings.entries.joinToString { (stage, ms) -> "$stage ${ms.toInt()} ms" }
        val network = pipeline.metadata
        lines += context.getString(
            R.string.sizes, decoded.bitmap.width, decoded.bitmap.height, network.inputWidth, network.inputHeight, opened.name,
        )
        if (decoded.reduced) lines += context.getString(R.string.reduced, decoded.fullWidth, decoded.fullHeight)
        return lines.joinToString("\n")
    }

    private fun failed(text: String) = Shown(text = text)

    private fun longest(): Int = context.resources.displayMetrics.run { maxOf(widthPixels, heightPixels) }

    private fun jpeg(bitmap: Bitmap, file: File) =
        written(file) { if (!bitmap.compress(Bitmap.CompressFormat.JPEG, QUALITY, it)) throw IOException("encoder") }

    private fun written(file: File, write: (OutputStream) -> Unit) {
        val whole = File(file.path + ".part")
        whole.outputStream().use(write)
        whole.renameTo(file)
    }

    private fun show(shown: Shown) {
        this.shown = shown
        onShown?.invoke(shown)
    }

    companion object {
        private const val RESULT = "result.jpg"
        private const val BEFORE = "before.jpg"
        private const val AFTER = "after.jpg"
        private const val SAID = "said.json"
        private const val ORDER = "order"
        private const val TEXT = "text"
        private const val QUALITY = 95
        private var only: Studio? = null

        /** As if the process had ended. */
        internal fun forget() {
            only = null
        }

        /** The process's studio; called on the main thread. */
        fun of(context: Context): Studio = only ?: Studio(context.applicationContext).also { only = it }
    }
}
