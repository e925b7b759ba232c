"""Benchmarks of mumu_jax's parts, beside their peers; `python -m benchmarks` runs them all."""
