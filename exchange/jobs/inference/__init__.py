"""Scores by another's neural network: `sequential` has its layers, `state_dict` its numbers."""
