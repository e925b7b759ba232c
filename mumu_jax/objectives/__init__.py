"""The meaning of a network's output: targets, losses, scores and metrics; one objective a class, by name."""

from mumu_jax.objectives.cosine import Cosine
from mumu_jax.objectives.logits import Logistic, Shares, Softmax
from mumu_jax.objectives.objective import OBJECTIVES, Fitted, Objective, make_objective, register

register("cosine", Cosine)
register("logistic", Logistic)
register("softmax", Softmax)
register("shares", Shares)

__all__ = ["OBJECTIVES", "Fitted", "Objective", "make_objective", "register"]
