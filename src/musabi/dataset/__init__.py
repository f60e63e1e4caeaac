"""Reading, checking and fingerprinting training images."""
