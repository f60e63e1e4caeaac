"""musabi: train diffusion LoRAs on a rented GPU."""

__version__ = "0.1.0"
