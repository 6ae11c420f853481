package io.github.bokehtflite

import android.content.ComponentName
import android.content.ContentProvider
import android.content.ContentValues
import android.content.Intent
import android.content.pm.ActivityInfo
import android.content.pm.ProviderInfo
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Gainmap
import android.graphics.ImageDecoder
import android.net.Uri
import android.os.Bundle
import android.os.Looper
import android.os.ParcelFileDescriptor
import android.provider.MediaStore
import android.view.View
import android.widget.Button
import android.widget.SeekBar
import android.widget.Spinner
import android.widget.TextView
import io.github.bokehtflite.core.Delegate
import io.github.bokehtflite.core.DelegateException
import io.github.bokehtflite.core.FloatImage
import io.github.bokehtflite.core.Placement
import io.github.bokehtflite.core.Reference
import io.github.bokehtflite.core.Runner
import io.github.bokehtflite.core.RunnerFactory
import java.io.File
import java.nio.ByteBuffer
import java.util.Collections
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import org.robolectric.shadows.ShadowContentResolver
import org.robolectric.shadows.ShadowLog
import org.robolectric.shadows.ShadowToast

/** The screen on a JVM: real views and pictures, and a runner whose output is grey instead of a native library. */
@RunWith(RobolectricTestRunner::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
@Config(sdk = [35])
class MainActivityTest {
    private val context get() = RuntimeEnvironment.getApplication()
    private val hold = CountDownLatch(1)

    @Before
    fun start() {
        Studio.forget()
        Models.runners = phone()
        Models.content = { assets, name -> ByteBuffer.wrap(assets.open(name).use { it.readBytes() }) }
        Photos.source = { _, uri -> ImageDecoder.createSource(ByteBuffer.wrap(File(uri.path!!).readBytes())) }
    }

    @After
    fun end() {
        hold.countDown()
        Models.runners = TfliteRunners
    }

    /** The full model's output for the photo that models are checked with. */
    private val fullModel by lazy {
        val (description, values) = listOf("json", "bin").map { end -> context.assets.open("models/reference.$end").use { it.readBytes() } }
        Reference.read(description.decodeToString(), values).fullModel
    }

    /** A phone whose CPU gives the full model's output instead of grey, and whose GPU is close to it. */
    private fun right(gpu: Boolean) = RunnerFactory { file, options ->
        val grey = phone(gpu).open(file, options)
        val error = if (options.delegate == Delegate.CPU) 0f else 0.001f
        object : Runner by grey {
            override fun run(input: FloatImage) = fullModel.run { FloatImage(height, width, channels, FloatArray(values.size) { values[it] + error }) }
        }
    }

    private fun phone(gpu: Boolean = false, waits: Boolean = false) = RunnerFactory { file, options ->
        if (options.delegate == Delegate.GPU && !gpu) throw DelegateException("gpu: not on this phone")
        object : Runner {
            override val placement = Placement("", options.delegate.label, "a test", file.operators, file.operators)
            override fun run(input: FloatImage): FloatImage {
                if (waits) hold.await(30, TimeUnit.SECONDS)
                return FloatImage(input.height, input.width, 3, FloatArray(input.values.size) { 0.5f })
            }
            override fun close() = Unit
        }
    }

    private fun photo(width: Int, height: Int, name: String = "photo.jpg"): Uri {
        val bitmap = Bitmap.createBitmap(width, height, Bitmap.Config.ARGB_8888)
        Canvas(bitmap).drawColor(Color.rgb(200, 80, 40))
        val file = File(context.filesDir, name)
        file.outputStream().use { bitmap.compress(Bitmap.CompressFormat.JPEG, 95, it) }
        return Uri.fromFile(file)
    }

    private fun open(uri: Uri? = null): ActivityController<MainActivity> {
        val intent = Intent(context, MainActivity::class.java)
        if (uri != null) intent.setAction(Intent.ACTION_SEND).putExtra(Intent.EXTRA_STREAM, uri)
        return Robolectric.buildActivity(MainActivity::class.java, intent).setup()
    }

    private fun said(activity: MainActivity) = activity.findViewById<TextView>(R.id.said)!!.text.toString()

    private fun waitUntil(there: () -> Boolean) {
        val end = System.nanoTime() + TimeUnit.SECONDS.toNanos(6)
        while (!there() && System.nanoTime() < end) {
            shadowOf(Looper.getMainLooper()).idle()
            Thread.sleep(10)
        }
    }

    private fun waitFor(activity: MainActivity, words: String): String {
        waitUntil { words in said(activity) }
        assertTrue("'$words' is not in '${said(activity)}'", words in said(activity))
        return said(activity)
    }

    private fun canSave(activity: MainActivity) = activity.findViewById<Button>(R.id.save)!!.isEnabled

    @Test
    fun `a photo is rendered, and the text says where and why not elsewhere`() {
        val activity = open(photo(640, 480)).get()
        val text = waitFor(activity, "Ran on CPU (a test), 1737 of 1737 operators")
        for (line in listOf("Requested: GPU", "gpu: not on this phone", "Check on this phone: ", "join ", "Photo 640 × 480, network 384 × 256")) {
            assertTrue(line, line in text)
        }
        assertTrue(canSave(activity))
        val shown = Studio.of(activity).shown
        // Grey where the network blurred: half of it comes from the runner.
        assertEquals(128f, Color.red(shown.after!!.getPixel(300, 200)).toFloat(), 3f)
        assertEquals(200f, Color.red(shown.before!!.getPixel(300, 200)).toFloat(), 6f)
        assertTrue(shown.result!!.length() > 1000)
    }

    @Test
    fun `a rotation keeps the result and the choices`() {
        val controller = open(photo(64, 48))
        waitFor(controller.get(), "Ran on CPU")
        controller.get().findViewById<Spinner>(R.id.model)!!.setSelection(2)
        waitFor(controller.get(), "(int8)")
        controller.recreate()
        shadowOf(Looper.getMainLooper()).idle()
        assertTrue("(int8)" in said(controller.get()))
        assertEquals(2, controller.get().findViewById<Spinner>(R.id.model)!!.selectedItemPosition)
        assertTrue(canSave(controller.get()))
    }

    @Test
    fun `the CPU runs int8 where its check holds`() {
        Models.runners = right(gpu = false)
        val text = waitFor(open(photo(64, 48)).get(), "Ran on CPU")
        assertTrue(text, "network 384 × 256 (int8)" in text)
        assertFalse(text, "instead of" in text)
    }

    @Test
    fun `the GPU runs float16`() {
        Models.runners = right(gpu = true)
        val text = waitFor(open(photo(64, 48)).get(), "Ran on GPU")
        assertTrue(text, "network 384 × 256 (float16)" in text)
        assertFalse(text, "instead of" in text)
    }

    @Test
    fun `a GPU that fails while it runs gives way to the CPU, visibly, and is closed`() {
        val log = Collections.synchronizedList(mutableListOf<String>())
        val right = right(gpu = true)
        Models.runners = RunnerFactory { file, options ->
            val runner = right.open(file, options)
            val gpu = options.delegate == Delegate.GPU
            var runs = 0
            if (gpu) log += "opened"
            object : Runner by runner {
                override fun run(input: FloatImage): FloatImage {
                    // The first run is the check's.
                    if (gpu && runs++ > 0) throw DelegateException("gpu: fails while it runs (the driver was reset)")
                    return runner.run(input)
                }
                override fun close() {
                    if (gpu) log += "closed"
                    runner.close()
                }
            }
        }
        val controller = open(photo(64, 48))
        val text = waitFor(controller.get(), "Ran on CPU")
        for (line in listOf("Requested: GPU", "gpu: fails while it runs (the driver was reset)", "(int8)")) assertTrue(text, line in text)
        assertTrue(canSave(controller.get()))
        controller.newIntent(Intent(Intent.ACTION_SEND).putExtra(Intent.EXTRA_STREAM, photo(80, 60, "second.jpg")))
        assertTrue("gpu: fails while it runs" in waitFor(controller.get(), "Photo 80 × 60"))
        assertEquals(listOf("opened", "closed"), log.toList())
    }

    @Test
    fun `a failed check of int8 is shown, and a choice by hand overrules it`() {
        val activity = open(photo(64, 48)).get() // grey is no full model's output
        val text = waitFor(activity, "Ran on CPU")
        assertTrue(text, "network 384 × 256 (float16)" in text)
        val note = Regex("float16 instead of int8: its PSNR to the full model is \\d+\\.\\d\\d dB on this phone, the limit is 40 dB")
        assertTrue(text, note.containsMatchIn(text))
        activity.findViewById<Spinner>(R.id.model)!!.setSelection(2)
        assertFalse("instead of" in waitFor(activity, "(int8)"))
        activity.findViewById<Spinner>(R.id.model)!!.setSelection(0)
        assertTrue(note.containsMatchIn(waitFor(activity, "(float16)")))
    }

    @Test
    fun `the end of the process keeps the result`() {
        val controller = open(photo(64, 48))
        val text = waitFor(controller.get(), "Ran on CPU")
        val state = Bundle()
        controller.saveInstanceState(state).pause().stop().destroy()
        Studio.forget()
        val again = Robolectric.buildActivity(MainActivity::class.java).create(state).start().restoreInstanceState(state).resume().visible()
        waitFor(again.get(), "Ran on CPU")
        assertEquals(text, said(again.get()))
        assertTrue(canSave(again.get()))
    }

    /** Ends the process, its worker left where it is, and opens the screen again. */
    private fun again(state: Bundle): ActivityController<MainActivity> {
        Studio.forget()
        return Robolectric.buildActivity(MainActivity::class.java).create(state).start().restoreInstanceState(state).resume().visible()
    }

    private fun leave(controller: ActivityController<MainActivity>) =
        Bundle().also { controller.saveInstanceState(it).pause().stop() }

    @Test
    fun `a result that was finished in the background outlasts the process`() {
        Models.runners = phone(waits = true)
        val controller = open(photo(64, 48))
        waitFor(controller.get(), "Rendering")
        val state = leave(controller)
        val studio = Studio.of(controller.get())
        hold.countDown()
        waitUntil { studio.shown.after != null }
        controller.destroy()
        Models.runners = RunnerFactory { _, _ -> throw DelegateException("it is rendered again") }
        val again = again(state)
        waitFor(again.get(), "Ran on CPU")
        assertEquals(studio.shown.text, said(again.get()))
        assertTrue(canSave(again.get()))
    }

    @Test
    fun `a photo whose rendering ended with the process is rendered again`() {
        val controller = open(photo(64, 48))
        waitFor(controller.get(), "Photo 64 × 48")
        Models.runners = phone(waits = true)
        controller.get().findViewById<Spinner>(R.id.model)!!.setSelection(2) // opens a model, so its runner waits
        controller.newIntent(Intent(Intent.ACTION_SEND).putExtra(Intent.EXTRA_STREAM, photo(80, 60, "second.jpg")))
        waitFor(controller.get(), "Rendering")
        val state = leave(controller)
        controller.destroy()
        Models.runners = phone()
        val again = again(state)
        assertTrue("(int8)" in waitFor(again.get(), "Photo 80 × 60"))
        assertTrue(canSave(again.get()))
    }

    @Test
    fun `a window that is opened again goes on with the last photo`() {
        val first = open(photo(64, 48))
        waitFor(first.get(), "Ran on CPU")
        first.pause().stop().destroy()
        val second = open()
        second.get().findViewById<Spinner>(R.id.model)!!.setSelection(2)
        waitFor(second.get(), "(int8)")
    }

    @Test
    fun `a new order is not disturbed by what an earlier process left`() {
        val controller = open(photo(64, 48))
        waitFor(controller.get(), "Photo 64 × 48")
        val state = leave(controller)
        controller.destroy()
        val running = CountDownLatch(1)
        val waiting = phone(waits = true)
        Models.runners = RunnerFactory { file, options -> waiting.open(file, options).also { running.countDown() } }
        Studio.forget()
        val again = Robolectric.buildActivity(MainActivity::class.java).create(state)
        again.newIntent(Intent(Intent.ACTION_SEND).putExtra(Intent.EXTRA_STREAM, photo(80, 60, "second.jpg")))
        assertTrue(running.await(6, TimeUnit.SECONDS)) // so the worker has posted what was left, which the looper runs only now
        again.start().resume().visible()
        shadowOf(Looper.getMainLooper()).idle()
        assertEquals("Rendering…", said(again.get()))
        hold.countDown()
        waitFor(again.get(), "Photo 80 × 60")
    }

    @Test
    fun `a second photo takes the place of one that is running`() {
        Models.runners = phone(waits = true)
        val controller = open(photo(64, 48))
        waitFor(controller.get(), "Rendering")
        assertFalse(canSave(controller.get()))
        val second = Intent(Intent.ACTION_SEND).putExtra(Intent.EXTRA_STREAM, photo(80, 60, "second.jpg"))
        controller.newIntent(second)
        hold.countDown()
        assertTrue("Photo 80 × 60" in waitFor(controller.get(), "Ran on CPU"))
    }

    @Test
    fun `a window that stops leaves the other one its results`() {
        Models.runners = phone(waits = true)
        val first = open(photo(64, 48))
        val second = open(photo(80, 60, "second.jpg"))
        first.pause().stop()
        hold.countDown()
        waitFor(second.get(), "Photo 80 × 60")
        assertTrue(canSave(second.get()))
    }

    @Test
    fun `two taps start one camera`() {
        val activity = open().get()
        repeat(2) { activity.findViewById<Button>(R.id.take)!!.performClick() }
        val started = generateSequence { shadowOf(activity).nextStartedActivityForResult }.toList()
        assertEquals(listOf(MediaStore.ACTION_IMAGE_CAPTURE), started.map { it.intent.action })
    }

    @Test
    fun `the gain map of an HDR photo is dropped`() { // the JVM's decoder reads none, so this is not the whole way
        val sharp = Bitmap.createBitmap(64, 48, Bitmap.Config.ARGB_8888)
        sharp.gainmap = Gainmap(Bitmap.createBitmap(16, 12, Bitmap.Config.ARGB_8888))
        assertTrue(sharp.hasGainmap())
        dropGainMap(sharp)
        assertFalse(sharp.hasGainmap())
    }

    @Test
    fun `a file that is no photo is reported`() {
        val file = File(context.filesDir, "note.jpg").apply { writeText("not a photo") }
        val activity = open(Uri.fromFile(file)).get()
        waitFor(activity, "The photo cannot be read")
        assertFalse(canSave(activity))
    }

    private val unwilling = listOf(
        IllegalArgumentException("Unknown URI"), IllegalStateException("Storage is away"), UnsupportedOperationException(),
        NullPointerException(), SecurityException("No right"),
    )

    @Test
    fun `what another app's provider throws is a reason and no crash`() {
        for (error in unwilling) {
            Studio.forget()
            Photos.source = { _, _ -> throw error }
            waitFor(open(photo(64, 48)).get(), "The photo cannot be read (${error.message ?: error.javaClass.simpleName})")
        }
    }

    @Test
    fun `a save that fails leaves nothing in the gallery`() {
        val activity = open(photo(64, 48)).get()
        waitFor(activity, "Ran on CPU")
        for (call in listOf("insert", "openFile", "update")) for (error in unwilling) {
            val gallery = Gallery(call, error)
            gallery.attachInfo(context, ProviderInfo().apply { authority = MediaStore.AUTHORITY })
            ShadowContentResolver.registerProviderInternal(MediaStore.AUTHORITY, gallery)
            activity.findViewById<Button>(R.id.save)!!.performClick()
            val toast = ShadowToast.getTextOfLatestToast()
            assertTrue("$call: $toast", "cannot be saved (${error.message ?: error.javaClass.simpleName})" in toast)
            assertEquals(call, 0, gallery.entries)
        }
    }

    /** A gallery, one of whose calls fails. */
    private class Gallery(private val failing: String, private val error: RuntimeException) : ContentProvider() {
        var entries = 0

        private fun called(name: String) {
            if (name == failing) throw error
        }

        override fun insert(uri: Uri, values: ContentValues?): Uri {
            called("insert")
            entries++
            return Uri.withAppendedPath(uri, "1")
        }

        override fun openFile(uri: Uri, mode: String): ParcelFileDescriptor {
            called("openFile")
            val file = File(RuntimeEnvironment.getApplication().cacheDir, "saved.jpg")
            return ParcelFileDescriptor.open(file, ParcelFileDescriptor.parseMode("rwt"))
        }

        override fun update(uri: Uri, values: ContentValues?, selection: String?, arguments: Array<String>?): Int {
            called("update")
            return 1
        }

        override fun delete(uri: Uri, selection: String?, arguments: Array<String>?): Int = 1.also { entries-- }

        override fun query(uri: Uri, columns: Array<String>?, selection: String?, arguments: Array<String>?, order: String?) = null

        override fun getType(uri: Uri): String = "image/jpeg"

        override fun onCreate() = true
    }

    @Test
    fun `what is sent and is no address is left`() {
        val intent = Intent(context, MainActivity::class.java).setAction(Intent.ACTION_SEND).putExtra(Intent.EXTRA_STREAM, Intent("no photo"))
        val activity = Robolectric.buildActivity(MainActivity::class.java, intent).setup().get()
        assertEquals(activity.getString(R.string.hint), said(activity))
    }

    @Test
    fun `a phone that runs nothing is reported`() {
        Models.runners = RunnerFactory { _, _ -> throw DelegateException("cpu: no library for this processor") }
        waitFor(open(photo(64, 48)).get(), "Nothing on this phone runs the model: cpu: no library for this processor")
    }

    @Test
    fun `a native library that does not load is a reason and no crash`() {
        Models.runners = TfliteRunners // there is none for a JVM
        waitFor(open(photo(64, 48)).get(), "Nothing on this phone runs the model: cpu: ")
    }

    @Test
    fun `every control can be read aloud and touched`() {
        val activity = open().get()
        for (id in listOf(R.id.pick, R.id.take, R.id.save, R.id.share, R.id.cut, R.id.model, R.id.delegate)) {
            val view = activity.findViewById<View>(id)!!
            assertTrue("${view.height} px", view.height >= 48 * activity.resources.displayMetrics.density - 1)
            val label = (view as? TextView)?.text ?: view.contentDescription ?: labelOf(activity, id)
            assertTrue(!label.isNullOrEmpty())
        }
        assertEquals("No photo yet", activity.findViewById<View>(R.id.picture)!!.contentDescription)
        assertEquals(View.ACCESSIBILITY_LIVE_REGION_POLITE, activity.findViewById<View>(R.id.said)!!.accessibilityLiveRegion)
    }

    private fun labelOf(activity: MainActivity, id: Int): CharSequence? {
        val found = ArrayList<View>()
        activity.window.decorView.findViewsWithText(found, "", View.FIND_VIEWS_WITH_TEXT)
        return found.filterIsInstance<TextView>().firstOrNull { it.labelFor == id }?.text
            ?: activity.getString(if (id == R.id.model) R.string.model else R.string.delegate).takeIf { hasLabel(activity.window.decorView, id) }
    }

    private fun hasLabel(view: View, id: Int): Boolean = view.labelFor == id ||
        (view is android.view.ViewGroup && (0 until view.childCount).any { hasLabel(view.getChildAt(it), id) })

    @Test
    fun `the seek bar moves the line`() {
        val activity = open(photo(64, 48)).get()
        waitFor(activity, "Ran on CPU")
        val bar = activity.findViewById<SeekBar>(R.id.cut)!!
        shadowOf(bar).onSeekBarChangeListener.onProgressChanged(bar, 25, true)
        assertEquals(0.25f, activity.findViewById<CompareView>(R.id.picture)!!.cut, 0.001f)
    }

    @Test
    fun `after a rotation the line stands where the bar does`() {
        val controller = open(photo(64, 48))
        waitFor(controller.get(), "Ran on CPU")
        controller.get().findViewById<SeekBar>(R.id.cut)!!.progress = 25
        controller.recreate()
        assertEquals(25, controller.get().findViewById<SeekBar>(R.id.cut)!!.progress)
        assertEquals(0.25f, controller.get().findViewById<CompareView>(R.id.picture)!!.cut, 0.001f)
    }

    @Test
    fun `what changes on a phone does not start a benchmark again`() {
        val handled = context.packageManager.getActivityInfo(ComponentName(context, BenchmarkActivity::class.java), 0).configChanges
        val changes = listOf(
            ActivityInfo.CONFIG_ORIENTATION, ActivityInfo.CONFIG_SCREEN_SIZE, ActivityInfo.CONFIG_SMALLEST_SCREEN_SIZE,
            ActivityInfo.CONFIG_SCREEN_LAYOUT, ActivityInfo.CONFIG_DENSITY, ActivityInfo.CONFIG_FONT_SCALE,
            ActivityInfo.CONFIG_KEYBOARD, ActivityInfo.CONFIG_KEYBOARD_HIDDEN, ActivityInfo.CONFIG_NAVIGATION,
            ActivityInfo.CONFIG_UI_MODE,
        )
        assertEquals(emptyList<String>(), changes.filter { handled and it == 0 }.map(Integer::toHexString))
    }

    @Test
    fun `a second benchmark of one name is refused`() {
        val intent = Intent().putExtra("request", context.cacheDir.path).putExtra("result", "a-name")
        BenchmarkActivity.running += "a-name"
        assertTrue(Robolectric.buildActivity(BenchmarkActivity::class.java, intent).create().get().isFinishing)
        assertEquals("a-name: runs already", ShadowLog.getLogsForTag("bokeh-bench").last().msg)
        assertTrue("the first goes on", BenchmarkActivity.running.remove("a-name"))
    }

    /** Drawn to be looked at: build/android/screens. */
    @Test
    fun `screens are drawn whole, whatever the phone`() {
        val folder = System.getProperty("bokeh.screens")?.let(::File)?.apply { mkdirs() }
        val phones = mapOf(
            "portrait" to "w411dp-h891dp-xhdpi",
            "dark" to "w411dp-h891dp-night-xhdpi",
            "landscape" to "w891dp-h411dp-land-xhdpi",
            "small-large-font" to "w360dp-h640dp-xhdpi",
        )
        for ((name, qualifiers) in phones) {
            Studio.forget()
            RuntimeEnvironment.setQualifiers(qualifiers)
            RuntimeEnvironment.setFontScale(if (name == "small-large-font") 2f else 1f)
            val photo = System.getProperty("bokeh.photo")?.let { Uri.fromFile(File(it)) } ?: photo(640, 480)
            val activity = open(photo).get()
            waitFor(activity, "Ran on CPU")
            shadowOf(Looper.getMainLooper()).idle()
            val root = activity.window.decorView
            val bitmap = Bitmap.createBitmap(root.width, root.height, Bitmap.Config.ARGB_8888)
            root.draw(Canvas(bitmap))
            folder?.let { File(it, "$name.png").outputStream().use { out -> bitmap.compress(Bitmap.CompressFormat.PNG, 90, out) } }
            for (id in listOf(R.id.picture, R.id.cut, R.id.pick, R.id.share)) { // the text below scrolls
                val view = activity.findViewById<View>(id)!!
                val place = IntArray(2).also(view::getLocationInWindow)
                assertTrue("$name: ${view.width} x ${view.height}", view.width > 0 && view.height > 0)
                assertTrue("$name: ends at ${place[1] + view.height} of ${root.height}", place[1] + view.height <= root.height)
            }
        }
    }
}
