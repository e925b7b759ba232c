"""Multi-label music genre classification from audio, text and covers, in JAX."""

__version__ = "0.1.0"
