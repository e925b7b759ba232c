"""A run's folder and what is made of it: evaluations, fusions, tags and exports."""
