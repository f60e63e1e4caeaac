"""What asks an endpoint: Runpod's, or `musabi serve`."""
