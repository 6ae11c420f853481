package io.github.bokehtflite

import android.content.ContentResolver
import android.content.ContentValues
import android.graphics.Bitmap
import android.graphics.ColorSpace
import android.graphics.ImageDecoder
import android.net.Uri
import android.os.Environment
import android.provider.MediaStore
import io.github.bokehtflite.core.Photo
import java.io.File
import java.io.IOException
import kotlin.math.sqrt

/** A decoded photo, upright, and its size before it was reduced. */
class Decoded(val bitmap: Bitmap, val fullWidth: Int, val fullHeight: Int) {
    val reduced: Boolean get() = bitmap.width < fullWidth
}

/** Photos in and out of the system. */
object Photos {
    private const val STRIP_ROWS = 64
    private const val BYTES_PER_PIXEL = 12 // RGB here, and what the join works on beside it

    /** Where a photo's bytes come from; a JVM has no file descriptors that can be passed on. */
    internal var source: (ContentResolver, Uri) -> ImageDecoder.Source = ImageDecoder::createSource

    /** Reads a photo upright, in sRGB; a huge one is reduced while it is decoded. Throws [IOException]. */
    fun decode(resolver: ContentResolver, uri: Uri): Decoded {
        val most = Runtime.getRuntime().maxMemory() / BYTES_PER_PIXEL
        var width = 0
        var height = 0
        val bitmap = answered {
            ImageDecoder.decodeBitmap(source(resolver, uri)) { decoder, info, _ ->
                width = info.size.width
                height = info.size.height
                decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE
                decoder.isMutableRequired = true
                decoder.setTargetColorSpace(ColorSpace.get(ColorSpace.Named.SRGB))
                val pixels = width.toLong() * height
                if (pixels > most) {
                    val factor = sqrt(most.toDouble() / pixels)
                    decoder.setTargetSize(maxOf(1, (width * factor).toInt()), maxOf(1, (height * factor).toInt()))
                }
            }
        }
        dropGainMap(bitmap)
        return Decoded(bitmap, width, height)
    }

    /** Copies a bitmap's pixels; transparency is dropped. */
    fun photo(bitmap: Bitmap): Photo {
        val photo = Photo(bitmap.height, bitmap.width, ByteArray(bitmap.height * bitmap.width * 3))
        val line = IntArray(bitmap.width * STRIP_ROWS)
        var at = 0
        for (top in 0 until bitmap.height step STRIP_ROWS) {
            val rows = minOf(STRIP_ROWS, bitmap.height - top)
            bitmap.getPixels(line, 0, bitmap.width, 0, top, bitmap.width, rows)
            for (i in 0 until rows * bitmap.width) {
                photo.rgb[at++] = (line[i] shr 16).toByte()
                photo.rgb[at++] = (line[i] shr 8).toByte()
                photo.rgb[at++] = line[i].toByte()
            }
        }
        return photo
    }

    /** Writes a photo's pixels into a bitmap of its size. */
    fun write(photo: Photo, bitmap: Bitmap) {
        val line = IntArray(bitmap.width * STRIP_ROWS)
        var at = 0
        for (top in 0 until bitmap.height step STRIP_ROWS) {
            val rows = minOf(STRIP_ROWS, bitmap.height - top)
            for (i in 0 until rows * bitmap.width) {
                val red = photo.rgb[at++].toInt() and 0xff
                val green = photo.rgb[at++].toInt() and 0xff
                val blue = photo.rgb[at++].toInt() and 0xff
                line[i] = (0xff shl 24) or (red shl 16) or (green shl 8) or blue
            }
            bitmap.setPixels(line, 0, bitmap.width, 0, top, bitmap.width, rows)
        }
    }

    /** A copy that is no larger than a screen needs. */
    fun preview(bitmap: Bitmap, longest: Int): Bitmap {
        val factor = minOf(1f, longest.toFloat() / maxOf(bitmap.width, bitmap.height))
        val width = maxOf(1, (bitmap.width * factor).toInt())
        val height = maxOf(1, (bitmap.height * factor).toInt())
        val small = Bitmap.createScaledBitmap(bitmap, width, height, true)
        return if (small === bitmap) bitmap.copy(Bitmap.Config.ARGB_8888, false) else small
    }

    /** Adds a picture to the gallery; it needs no permission for entries of one's own. Throws [IOException]. */
    fun save(resolver: ContentResolver, file: File, name: String): Uri {
        val uri = entry(resolver, name, "Bokeh", pending = true)
        try {
            val out = answered { resolver.openOutputStream(uri) } ?: throw IOException("no stream")
            out.use { file.inputStream().use { it.copyTo(out) } }
            answered { resolver.update(uri, ContentValues().apply { put(MediaStore.Images.Media.IS_PENDING, 0) }, null, null) }
            return uri
        } catch (error: IOException) {
            remove(resolver, uri)
            throw error
        }
    }

    /** A gallery entry for the camera app to fill. Throws [IOException]. */
    fun entry(resolver: ContentResolver, name: String, folder: String, pending: Boolean = false): Uri {
        val values = ContentValues().apply {
            put(MediaStore.Images.Media.DISPLAY_NAME, name)
            put(MediaStore.Images.Media.MIME_TYPE, "image/jpeg")
            put(MediaStore.Images.Media.RELATIVE_PATH, "${Environment.DIRECTORY_PICTURES}/$folder")
            if (pending) put(MediaStore.Images.Media.IS_PENDING, 1)
        }
        val uri = answered { resolver.insert(MediaStore.Images.Media.EXTERNAL_CONTENT_URI, values) }
        return uri ?: throw IOException("no gallery")
    }

    /** Removes a gallery entry that is not wanted, if the gallery lets it go. */
    fun remove(resolver: ContentResolver, uri: Uri) {
        try {
            answered { resolver.delete(uri, null, null) }
        } catch (error: IOException) {
            // The entry stays, empty: the gallery does not show it, or its owner can remove it there.
        }
    }

    /**
     * What a content provider answers. It is another app's: what it throws arrives here, such as SecurityException where the
     * right to read a photo has ended, or IllegalStateException where it has no storage.
     */
    private inline fun <T> answered(call: () -> T): T =
        try {
            call()
        } catch (error: RuntimeException) {
            throw IOException(error.message ?: error.javaClass.simpleName, error)
        }
}
