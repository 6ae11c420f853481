package io.github.bokehtflite.core

import org.json.JSONException
import org.json.JSONObject

/**
 * Input, output and provenance of a model: the JSON in the metadata entry `bokeh_tflite`, as `bokeh-convert` writes it.
 *
 * @property inputChannels "rgb" or "rgbd".
 * @property outputScale height of the output over the input's.
 * @property resampling "area" or "bicubic": how photos were scaled to the input in training.
 * @property scheme such as "int8".
 * @property sourceSha256 hash of the trained model; "" where it is not said.
 */
data class ModelMetadata(
    val inputHeight: Int,
    val inputWidth: Int,
    val inputChannels: String,
    val outputScale: Double,
    val resampling: String,
    val scheme: String,
    val sourceSha256: String,
) {
    companion object {
        const val ENTRY = "bokeh_tflite"

        /** Reads a file's metadata. Throws [InputException] if it has none, or one that contradicts its graph. */
        fun of(file: TfliteFile): ModelMetadata {
            val text = file.metadata[ENTRY]
                ?: throw InputException("${file.name}: does not say what it is; convert it with bokeh-convert")
            val found = try {
                parse(JSONObject(text))
            } catch (error: JSONException) {
                throw InputException("${file.name}: its metadata is damaged (${error.message}); convert it again")
            }
            val channels = if (found.inputChannels == "rgb") 3 else 4
            if (file.input.shape != listOf(1, found.inputHeight, found.inputWidth, channels)) {
                throw InputException("${file.name}: its metadata and its graph contradict each other; convert it again")
            }
            if (channels != 3) {
                throw InputException("${file.name}: takes a depth map, which this app has not; convert an RGB model")
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

        private fun parse(json: JSONObject): ModelMetadata {
            if (json.getString("schema") != Contract.Schemas.MODEL) throw JSONException("schema ${json.getString("schema")}")
            val range = json.getJSONArray("value_range")
            if (range.getDouble(0) != 0.0 || range.getDouble(1) != 1.0) throw JSONException("value_range $range")
            val resampling = json.getString("resampling")
            if (resampling !in Contract.Prepare.RESAMPLING) throw JSONException("resampling $resampling")
            return ModelMetadata(
                json.getInt("input_height"),
                json.getInt("input_width"),
                json.getString("input_channels"),
                json.getDouble("output_scale"),
                resampling,
                json.getString("scheme"),
                json.getJSONObject("source").optString("sha256"),
            )
        }
    }
}
