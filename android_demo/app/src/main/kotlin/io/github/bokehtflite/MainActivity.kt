package io.github.bokehtflite

import android.app.Activity
import android.content.ActivityNotFoundException
import android.content.Intent
import android.net.Uri
import android.os.BadParcelableException
import android.os.Build
import android.os.Bundle
import android.os.Parcelable
import android.provider.MediaStore
import android.view.View
import android.widget.AdapterView
import android.widget.ArrayAdapter
import android.widget.Button
import android.widget.ProgressBar
import android.widget.SeekBar
import android.widget.Spinner
import android.widget.TextView
import android.widget.Toast
import io.github.bokehtflite.core.Contract
import io.github.bokehtflite.core.Delegate
import java.io.IOException

/** The one screen: a photo, its result, and where and how fast it was computed. */
class MainActivity : Activity() {
    private lateinit var studio: Studio
    private val names by lazy { studio.models.bundled.keys.toList() }
    private val delegates = Delegate.entries.filter { it != Delegate.NNAPI || Build.VERSION.SDK_INT <= Contract.Nnapi.LAST_API_LEVEL }
    private var photo: Uri? = null
    private var camera: Uri? = null
    private val shows: (Shown) -> Unit = ::show
    private val picture by lazy { view<CompareView>(R.id.picture) }
    private val cut by lazy { view<SeekBar>(R.id.cut) }
    private val model by lazy { view<Spinner>(R.id.model) }
    private val delegate by lazy { view<Spinner>(R.id.delegate) }

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        setContentView(R.layout.main)
        studio = Studio.of(this)
        val last = studio.order // of a window that was closed
        photo = state?.getString(PHOTO)?.let(Uri::parse) ?: last?.uri
        camera = state?.getString(CAMERA)?.let(Uri::parse)
        choices(model, listOf(getString(R.string.automatic)) + names, state?.getInt(MODEL) ?: last?.let { names.indexOf(it.model) + 1 } ?: 0)
        choices(delegate, delegates.map { it.label.uppercase() }, state?.getInt(DELEGATE) ?: delegates.indexOf(last?.delegate ?: Delegate.GPU))
        view<Button>(R.id.pick).setOnClickListener { pick() }
        view<Button>(R.id.take).setOnClickListener { take() }
        view<Button>(R.id.save).setOnClickListener { save() }
        view<Button>(R.id.share).setOnClickListener { share() }
        picture.onCut = { cut.progress = (it * cut.max).toInt() }
        cut.setOnSeekBarChangeListener(object : SeekBar.OnSeekBarChangeListener {
            override fun onProgressChanged(bar: SeekBar, progress: Int, fromUser: Boolean) {
                if (fromUser) picture.cut = progress.toFloat() / bar.max
            }
            override fun onStartTrackingTouch(bar: SeekBar) = Unit
            override fun onStopTrackingTouch(bar: SeekBar) = Unit
        })
        if (state == null) received(intent) else order()?.let(studio::restore)
    }

    override fun onStart() {
        super.onStart()
        studio.onShown = shows
        show(studio.shown)
    }

    override fun onStop() {
        if (studio.onShown === shows) studio.onShown = null // another window may have started before this one stops
        super.onStop()
    }

    override fun onRestoreInstanceState(state: Bundle) {
        super.onRestoreInstanceState(state)
        picture.cut = cut.progress.toFloat() / cut.max // the bar keeps its place, and has it only now
    }

    override fun onNewIntent(intent: Intent) {
        super.onNewIntent(intent)
        received(intent)
    }

    override fun onSaveInstanceState(state: Bundle) {
        super.onSaveInstanceState(state)
        state.putString(PHOTO, photo?.toString())
        state.putString(CAMERA, camera?.toString())
        state.putInt(MODEL, model.selectedItemPosition)
        state.putInt(DELEGATE, delegate.selectedItemPosition)
    }

    @Deprecated("the replacement is AndroidX's")
    override fun onActivityResult(request: Int, result: Int, data: Intent?) {
        if (request == PICK && result == RESULT_OK) data?.data?.let { picked ->
            try { // to render it again with another model, after the process has ended too
                contentResolver.takePersistableUriPermission(picked, Intent.FLAG_GRANT_READ_URI_PERMISSION)
            } catch (error: RuntimeException) {
                // A provider that grants it for this process alone, or answers with an error; then it is chosen again.
            }
            open(picked)
        }
        if (request == TAKE) {
            val taken = camera ?: return
            camera = null
            if (result == RESULT_OK) open(taken) else Photos.remove(contentResolver, taken)
        }
    }

    private fun received(intent: Intent) {
        if (intent.action != Intent.ACTION_SEND) return
        val stream = try {
            @Suppress("DEPRECATION") // its replacement came with Android 13
            intent.getParcelableExtra<Parcelable>(Intent.EXTRA_STREAM)
        } catch (error: BadParcelableException) { // of a class that only the other app has
            null
        }
        (stream as? Uri)?.let(::open)
    }

    private fun open(uri: Uri) {
        photo = uri
        render()
    }

    private fun render() {
        order()?.let(studio::start)
    }

    private fun order(): Order? {
        val uri = photo ?: return null
        val chosen = names.getOrNull(model.selectedItemPosition - 1) // the first entry is the automatic choice
        return Order(uri, chosen, delegates[delegate.selectedItemPosition])
    }

    private fun pick() {
        val intent = Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType("image/*")
        launch(intent, PICK, R.string.no_picker)
    }

    private fun take() {
        if (camera != null) return // a second tap, while the camera app starts
        val uri = try {
            Photos.entry(contentResolver, "bokeh_photo_${System.currentTimeMillis()}.jpg", "Bokeh")
        } catch (error: IOException) {
            return toast(getString(R.string.not_saved, error.message))
        }
        camera = uri
        val intent = Intent(MediaStore.ACTION_IMAGE_CAPTURE).putExtra(MediaStore.EXTRA_OUTPUT, uri)
            .addFlags(Intent.FLAG_GRANT_WRITE_URI_PERMISSION)
        if (!launch(intent, TAKE, R.string.no_camera)) {
            camera = null
            Photos.remove(contentResolver, uri)
        }
    }

    private fun launch(intent: Intent, request: Int, missing: Int): Boolean {
        try {
            @Suppress("DEPRECATION") // the replacement is AndroidX's
            startActivityForResult(intent, request)
            return true
        } catch (error: ActivityNotFoundException) {
            toast(getString(missing))
        } catch (error: SecurityException) { // a phone's owner may forbid the camera
            toast(getString(missing))
        }
        return false
    }

    /** Saves the result; null and a word why if that fails. */
    private fun save(): Uri? {
        val file = studio.shown.result ?: return null
        return try {
            val uri = Photos.save(contentResolver, file, "bokeh_${System.currentTimeMillis()}.jpg")
            toast(getString(R.string.saved))
            uri
        } catch (error: IOException) {
            toast(getString(R.string.not_saved, error.message))
            null
        }
    }

    private fun share() {
        val uri = save() ?: return
        val intent = Intent(Intent.ACTION_SEND).setType("image/jpeg").putExtra(Intent.EXTRA_STREAM, uri)
            .addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION)
        startActivity(Intent.createChooser(intent, null))
    }

    private fun show(shown: Shown) {
        picture.show(shown.before, shown.after)
        shown.text?.let { view<TextView>(R.id.said).text = it }
        view<ProgressBar>(R.id.progress).visibility = if (shown.working) View.VISIBLE else View.INVISIBLE
        val ready = shown.result != null && !shown.working
        view<Button>(R.id.save).isEnabled = ready
        view<Button>(R.id.share).isEnabled = ready
    }

    private fun choices(spinner: Spinner, names: List<String>, chosen: Int) {
        val adapter = ArrayAdapter(this, android.R.layout.simple_spinner_item, names)
        adapter.setDropDownViewResource(android.R.layout.simple_spinner_dropdown_item)
        spinner.adapter = adapter
        spinner.setSelection(chosen.coerceIn(names.indices), false)
        spinner.onItemSelectedListener = object : AdapterView.OnItemSelectedListener {
            private var last = spinner.selectedItemPosition

            override fun onItemSelected(parent: AdapterView<*>, view: View?, position: Int, id: Long) {
                // It is called for the first choice too, which nobody made.
                if (position != last) render()
                last = position
            }

            override fun onNothingSelected(parent: AdapterView<*>) = Unit
        }
    }

    // Every layout has every view.
    private fun <T : View> view(id: Int): T = requireNotNull(findViewById<T>(id))

    private fun toast(text: String) = Toast.makeText(this, text, Toast.LENGTH_LONG).show()

    private companion object {
        const val PICK = 1
        const val TAKE = 2
        const val PHOTO = "photo"
        const val CAMERA = "camera"
        const val MODEL = "model"
        const val DELEGATE = "delegate"
    }
}
