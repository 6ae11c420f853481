package io.github.bokehtflite.core

import org.json.JSONObject
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.DynamicTest.dynamicTest
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory

/** The rule for a delegate's output gives the verdicts of the contract; Python's test reads the same. */
class GpuVerdictTest {
    private val vectors = Golden.contract("vectors/gpu_check.json")

    @TestFactory
    fun `the rule gives the contract's verdict`(): List<DynamicTest> = objects(vectors, "cases").map { case ->
        dynamicTest(case.getString("name")) {
            assertEquals(case.getString("verdict"), judge(evidence(case.getJSONObject("evidence"))).label)
        }
    }

    @Test
    fun `the vectors hold every verdict and are of this version`() {
        assertEquals(Verdict.entries.map { it.label }.toSet(), objects(vectors, "cases").map { it.getString("verdict") }.toSet())
        assertEquals(vectors.getInt("check_version"), Contract.GpuCheck.VERSION)
    }

    @Test
    fun `what follows from a verdict is the contract's`() {
        val strings = { name: String -> vectors.getJSONArray(name).map { it as String }.toSet() }
        assertEquals(strings("accepted"), Verdict.entries.filter { it.accepted }.map { it.label }.toSet())
        assertEquals(strings("retry_in_float32"), Verdict.entries.filter { it.retryInFloat32 }.map { it.label }.toSet())
    }

    private fun evidence(values: JSONObject): Evidence {
        val read = mutableSetOf<String>()
        fun flag(name: String) = values.getBoolean(name).also { read += name }
        fun distance(name: String): Double? {
            read += name
            return when (val value = values.get(name)) {
                JSONObject.NULL -> null
                "infinity" -> Double.POSITIVE_INFINITY
                "nan" -> Double.NaN
                else -> (value as Number).toDouble()
            }
        }
        val evidence = Evidence(
            finite = flag("finite"),
            identical = flag("identical"),
            gpuVsCpuDb = distance("gpu_vs_cpu_db"),
            gpuVsFullModelDb = distance("gpu_vs_full_model_db"),
            cpuVsFullModelDb = distance("cpu_vs_full_model_db"),
            floatSums = flag("float_sums"),
            delegatedOps = distance("delegated_ops")?.toInt(),
            totalOps = values.getInt("total_ops").also { read += "total_ops" },
            allowPartial = flag("allow_partial"),
        )
        assertEquals(values.keySet(), read)
        return evidence
    }
}
