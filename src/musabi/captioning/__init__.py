"""Captions for pictures and videos, written by a vision-language model in the trainer's environment."""
