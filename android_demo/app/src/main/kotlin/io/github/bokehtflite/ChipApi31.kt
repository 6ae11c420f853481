package io.github.bokehtflite

import android.os.Build

/** The processor's name, which Android reports from 12 on. */
internal object ChipApi31 {
    fun name(): String = "${Build.SOC_MANUFACTURER} ${Build.SOC_MODEL}"
}

/** The processor's name, or that of the board on an older Android. */
internal fun chip(): String = if (Build.VERSION.SDK_INT >= 31) ChipApi31.name() else Build.HARDWARE
