"""What every test starts from."""

import signal

# A shell that runs the tests in the background has SIGINT ignored, which their children would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
