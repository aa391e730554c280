"""Infinity's classify endpoint behind an aiokafka loop."""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import aiohttp
from served import Scores, free_port, loop, serving

BOOTSTRAP, SOURCE, OUTPUT, MODEL = sys.argv[1:5]


def main() -> None:
    """Start the server, then classify until killed."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    program = str(Path(sys.executable).with_name("infinity_emb"))
    command = [program, "v2", "--model-id", MODEL, "--served-model-name", "model"]
    command += ["--engine", "torch", "--device", "cpu", "--dtype", "float32"]
    command += ["--no-bettertransformer"]  # it was slower in a trial on a CPU
    command += ["--batch-size", "32", "--port", str(port), "--log-level", "error"]

    async def ask(session: aiohttp.ClientSession, texts: Sequence[str]) -> list[Scores]:
        body = {"model": "model", "input": texts}
        async with session.post(f"{url}/classify", json=body) as response:
            response.raise_for_status()
            return (await response.json())["data"]

    with serving(command, env={**os.environ, "DO_NOT_TRACK": "1"}):
        asyncio.run(loop(BOOTSTRAP, SOURCE, OUTPUT, health=f"{url}/health", ask=ask))


if __name__ == "__main__":
    main()
