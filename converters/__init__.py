"""Keras model in, .tflite bytes out, and the proof that they agree."""
