"""Where a .tflite file can be measured: this host, a board, a phone, a browser, emulators."""
