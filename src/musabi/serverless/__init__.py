"""The endpoint: one HTTP request in, one trained LoRA out. By `musabi serve`, or as a worker of Runpod."""
