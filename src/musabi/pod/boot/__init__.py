"""The first process of the container: what it starts, in which order, and how it ends. See `sequence`."""
