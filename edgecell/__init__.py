"""edgecell: train small image classifiers, quantize them to TFLite and prove that nothing was lost."""

__version__ = "0.1.0"
