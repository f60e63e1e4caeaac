"""What the container does: bootstrap and, later, boot."""
