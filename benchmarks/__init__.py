"""How fast the parts of mumu_jax are, beside their peers; `python -m benchmarks` runs them all."""
