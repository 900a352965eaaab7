"""What server and agents read alike of a device's configuration: plain Python, without Django."""
