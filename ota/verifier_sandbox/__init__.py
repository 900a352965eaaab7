"""The confined child that handles hostile files, and the supervisor that watches it and ends all that it started.

``ota.sandbox`` starts a supervisor: a module's ``main`` that reads a request, imports what it needs, and calls ``run``.
The supervisor forks the child, which gives up network, files, rights and memory before it opens a hostile byte. The
supervisor never reads one; it gives the verdict away only when every descendant is dead and the scratch folder within
bounds.
"""

from ota.verifier_sandbox.bounds import FILE_SIZE, Bounds
from ota.verifier_sandbox.request import SandboxRequest, read_sandbox_request
from ota.verifier_sandbox.supervisor import run_child

__all__ = ["FILE_SIZE", "Bounds", "SandboxRequest", "read_sandbox_request", "run_child"]
