"""How a simulated device reaches its door: over HTTPS, over DTLS, or in OSCORE; all with one face."""
