package io.github.bokehtflite

import android.graphics.Bitmap
import android.os.Build

/** A photo's HDR gain map, which Android keeps from 14 on. */
internal object GainMapApi34 {
    fun drop(bitmap: Bitmap) {
        bitmap.gainmap = null
    }
}

/** Drops the gain map: that of the sharp photo would draw its edges over the blurred background. */
internal fun dropGainMap(bitmap: Bitmap) {
    if (Build.VERSION.SDK_INT >= 34) GainMapApi34.drop(bitmap)
}
