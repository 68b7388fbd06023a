"""Runs the bus as `python -m eventbus` does, and writes down how long its loop was busy in one piece, at most.

The file that PROBE_FILE names holds that, in seconds of CPU time of the loop's thread, as a double. A test may write 0
there, to begin anew. Arguments are passed over.
"""

import asyncio
import mmap
import os
import runpy
import struct
import sys
import time
from pathlib import Path

LONGEST = struct.Struct("d")

if __name__ == "__main__":
    with Path(os.environ["PROBE_FILE"]).open("r+b") as file:
        memory = mmap.mmap(file.fileno(), LONGEST.size)
    run = asyncio.Handle._run

    def run_and_measure(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        run(handle)
        took = time.thread_time() - began
        if took > LONGEST.unpack_from(memory)[0]:
            LONGEST.pack_into(memory, 0, took)

    asyncio.Handle._run = run_and_measure
    sys.argv = ["eventbus"]
    runpy.run_module("eventbus", run_name="__main__")
