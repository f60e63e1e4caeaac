"""LoRA files: reading, converting, looking into, merging and averaging them, without torch."""
