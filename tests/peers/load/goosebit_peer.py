"""Runs inside goosebit's own virtual environment: makes its schema, registers devices, serves on loopback.

``PYTHON goosebit_peer.py PORT DEVICES`` with GOOSEBIT_DB_URI and GOOSEBIT_ARTIFACTS_DIR in the environment. The same
code as ``python -m goosebit``, but bound to loopback; its access log stays on, as in its default.
"""

import asyncio
import sys

import uvicorn
from goosebit import app
from goosebit.db.config import TORTOISE_CONF
from goosebit.db.models import Device, Hardware, UpdateStateEnum
from tortoise import Tortoise


async def prepare(devices: int) -> None:
    """Make the schema and register devices."""
    await Tortoise.init(config=TORTOISE_CONF)
    await Tortoise.generate_schemas()
    hardware = (await Hardware.get_or_create(model="default", revision="default"))[0]
    for number in range(devices):
        facts = {"hardware": hardware, "last_state": UpdateStateEnum.REGISTERED}
        await Device.get_or_create(id=f"dev-{number}", defaults=facts)
    await Tortoise.close_connections()


asyncio.run(prepare(int(sys.argv[2])))
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]))
