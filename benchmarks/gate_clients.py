"""So many clients that wait at the gate, in a process of their own: URL, NUMBER.

Prints `asked` once all have sent their questions, then for each answer when it came, in
milliseconds since the epoch, as one JSON list.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import aiohttp


async def main(url: str, number: int) -> None:
    sent, came = 0, []
    everybody = asyncio.Event()

    async def ask(session: aiohttp.ClientSession) -> None:
        nonlocal sent
        async with session.get(url) as answer:
            came.append((time.time() * 1000, answer.status))

    async def on_sent(*_: object) -> None:
        nonlocal sent
        sent += 1
        if sent == number:
            everybody.set()

    tracing = aiohttp.TraceConfig()
    tracing.on_request_headers_sent.append(on_sent)
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, trace_configs=[tracing]
    ) as session:
        asking = [asyncio.create_task(ask(session)) for _ in range(number)]
        await everybody.wait()
        print("asked", flush=True)
        await asyncio.gather(*asking)
    print(json.dumps(came), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
