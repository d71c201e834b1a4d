"""edgecell: train small image classifiers, quantize them to TFLite and show how little was lost."""

__version__ = "0.1.0"
