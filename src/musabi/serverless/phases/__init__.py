"""The phases of a job, a module each: what is done, and what is remembered of it."""
