"""Prompts x checkpoints x strengths as one labelled picture."""
