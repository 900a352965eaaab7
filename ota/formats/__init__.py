"""One verifier a format. They run in a confined child process (``python -m ota.formats``), without Django."""
