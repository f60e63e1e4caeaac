"""What is asked for: an HTTP body, typed, checked and translated for each trainer."""
