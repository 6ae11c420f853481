package io.github.bokehtflite.core

import org.json.JSONException
import org.json.JSONObject

/**
 * Input, output and provenance of a model: the JSON in the metadata entry `bokeh_tflite`, as `bokeh-convert` writes it.
 *
 * @property inputChannels "rgb", "rgbd", or "y" (luminance alone).
 * @property inputRange the input's values of black and white.
 * @property outputRange the output's.
 * @property outputScale height of the output over the input's.
 * @property resampling "area" or "bicubic": how photos were scaled to the input in training.
 * @property scheme such as "int8".
 * @property sourceSha256 hash of the trained model; "" where it is not said.
 */
data class ModelMetadata(
    val inputHeight: Int,
    val inputWidth: Int,
    val inputChannels: String,
    val inputRange: ValueRange,
    val outputRange: ValueRange,
    val outputScale: Double,
    val resampling: String,
    val scheme: String,
    val sourceSha256: String,
) {
    companion object {
        const val ENTRY = "bokeh_tflite"
        private val CHANNELS = mapOf("y" to 1, "rgb" to 3, "rgbd" to 4)

        /** Reads a file's metadata. Throws [InputException] if it has none, or one that contradicts its graph. */
        fun of(file: TfliteFile): ModelMetadata {
            val text = file.metadata[ENTRY]
                ?: throw InputException("${file.name}: does not say what it is; convert it with bokeh-convert")
            val found = try {
                parse(JSONObject(text))
            } catch (error: JSONException) {
                throw InputException("${file.name}: its metadata is damaged (${error.message}); convert it again")
            }
            val channels = CHANNELS[found.inputChannels]
                ?: throw InputException("${file.name}: takes ${found.inputChannels}, which this app does not know; convert an RGB model")
            if (file.input.shape != listOf(1, found.inputHeight, found.inputWidth, channels)) {
                throw InputException("${file.name}: its metadata and its graph contradict each other; convert it again")
            }
            if (channels != 3) {
                val takes = if (channels == 4) "takes a depth map, which this app has not" else "takes luminance alone, which this app does not compute"
                throw InputException("${file.name}: $takes; convert an RGB model")
            }
            return found
        }

        /** What a file says, without holding it against the graph; null if it says nothing that can be read. */
        fun orNull(file: TfliteFile): ModelMetadata? =
            try {
                file.metadata[ENTRY]?.let { parse(JSONObject(it)) }
            } catch (error: JSONException) {
                null
            }

        private fun range(json: JSONObject, key: String): ValueRange {
            val ends = json.getJSONArray(key)
            val range = ValueRange(ends.getDouble(0).toFloat(), ends.getDouble(1).toFloat())
            if (!(range.low < range.high && (range.high - range.low).isFinite())) throw JSONException("$key $ends")
            return range
        }

        private fun parse(json: JSONObject): ModelMetadata {
            val schema = json.getString("schema")
            if (schema != Contract.Schemas.MODEL && schema != Contract.Schemas.MODEL_2) throw JSONException("schema $schema")
            val inputRange = range(json, "value_range")
            val outputRange = if (json.isNull("output_range")) inputRange else range(json, "output_range")
            val resampling = json.getString("resampling")
            if (resampling !in Contract.Prepare.RESAMPLING) throw JSONException("resampling $resampling")
            return ModelMetadata(
                json.getInt("input_height"),
                json.getInt("input_width"),
                json.getString("input_channels"),
                inputRange,
                outputRange,
                json.getDouble("output_scale"),
                resampling,
                json.getString("scheme"),
                json.getJSONObject("source").optString("sha256"),
            )
        }
    }
}
