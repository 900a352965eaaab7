"""Steps of the agent's protocols (``fleet.agent.steps``), taken in an event loop."""

from collections.abc import Awaitable, Callable

from fleet.agent.steps import Steps, T


async def drive_in_loop(
    send: Callable[[bytes], Awaitable[None]], receive: Callable[[float], Awaitable[bytes | None]], steps: Steps[T]
) -> T:
    """Take the steps. Return their result.

    Args:
        send: sends one datagram or message.
        receive: returns the next one, or None after the deadline (monotonic seconds).
        steps: the protocol.
    """
    came: bytes | None = None
    while True:
        try:
            step = steps.send(came)
        except StopIteration as done:
            result: T = done.value
            return result
        came = None
        if isinstance(step, bytes):
            await send(step)
        else:
            came = await receive(step)
