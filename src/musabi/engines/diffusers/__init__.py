"""The embedded engine: diffusers, peft and prodigyopt from the package index."""
