"""Networks of two modalities that are trained jointly; each registers itself."""

from mumu_jax.models.joint import coattention, cross_attention

__all__ = ["coattention", "cross_attention"]
