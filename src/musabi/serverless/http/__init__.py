"""The endpoint's HTTP side: Runpod's paths under Starlette."""
