"""Signing requests from the server: read them, compare them with the current metadata, and sign them."""
