"""Signing requests: what a server asks officers to sign, read, compared with what holds, and signed."""
