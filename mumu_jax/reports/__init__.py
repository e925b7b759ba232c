"""The pages that `python -m mumu_jax.report` writes: what a run's folder holds, measured, drawn and put together."""
