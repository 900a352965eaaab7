"""Transports of a simulated device: HTTPS, CoAP over DTLS, and CoAP with OSCORE, with one interface."""
