"""Setting a workspace up: stages that prove themselves done, and what runs them. See `run`."""
