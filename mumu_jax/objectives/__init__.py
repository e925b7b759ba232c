"""What a network's output means: targets, losses, scores and metrics."""
