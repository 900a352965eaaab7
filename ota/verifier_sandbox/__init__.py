"""The confined child that handles hostile files, and the keeper that watches it and ends all that it started.

``ota.sandbox`` starts a keeper: a module's ``main`` that reads a request, imports what it needs, and calls ``run``.
The keeper forks the child, which gives up network, files, rights and memory before it opens a hostile byte. The keeper
never reads one; it gives the verdict away only when every descendant is dead and the scratch folder within bounds.
"""

from ota.verifier_sandbox.bounds import FILE_SIZE, Bounds
from ota.verifier_sandbox.keeper import run_child
from ota.verifier_sandbox.request import SandboxRequest, read_sandbox_request

__all__ = ["FILE_SIZE", "Bounds", "SandboxRequest", "read_sandbox_request", "run_child"]
