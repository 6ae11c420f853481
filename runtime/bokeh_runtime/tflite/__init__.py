"""What a .tflite file holds, and what lies beside it."""
