"""What people look at: the report, read from the run record and the event files."""
