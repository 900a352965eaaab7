"""How much a confined child may use."""

from dataclasses import dataclass

CPU_S = 20
ADDRESS_SPACE = 1 << 30
FILE_SIZE = 8 << 20
#: Processes and threads that a verifier may have beside those that its user has already.
PROCESSES = 16
#: What all processes of one verifier may hold beside what they share, in bytes.
MEMORY = ADDRESS_SPACE + (512 << 20)
ENTRIES, DEPTH = 4096, 32
_SLACK = 16 << 20


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one child and all that it starts may use.

    Args:
        file_size: longest file that may be written, in bytes.
        cpu_s: seconds of the processor, each process.
    """

    file_size: int = FILE_SIZE
    cpu_s: int = CPU_S

    @property
    def scratch(self) -> int:
        """Return how many bytes the scratch folder may take."""
        return 2 * self.file_size + _SLACK
