"""Keras model in, .tflite bytes out, and the tests that they agree."""
