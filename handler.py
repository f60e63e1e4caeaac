"""The endpoint's handler, where Runpod's hub looks for it: the same as `musabi worker`."""

import os

if __name__ == "__main__":
    from musabi.serverless.worker.runpod_worker import serve

    serve(os.environ)
