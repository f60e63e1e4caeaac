"""The musubi-tuner engine."""
