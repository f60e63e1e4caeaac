"""The queue of `musabi serve`: jobs in SQLite, one at work a GPU."""
