"""diffusion-pipe: the trainer for SDXL and FLUX.1, a program of its own in a checkout and an environment of its own."""
