"""TPM 2.0 as a server needs it: read public areas and attestations, make credentials. Pure; no TPM library."""
