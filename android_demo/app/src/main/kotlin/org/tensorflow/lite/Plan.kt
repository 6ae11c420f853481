package org.tensorflow.lite

/**
 * How many nodes an interpreter executes, delegates' included: 1 where one delegate took the whole model.
 *
 * TensorFlow Lite shows it to nobody outside its package; there is no other proof of where a model ran.
 */
internal fun planLength(interpreter: Interpreter): Int = interpreter.executionPlanLength
