"""Decodes changed files of every format in a process with bounded memory.

`python -m tests.helpers.decode_changed 200` prints how many of 200 files of each format were read and how many refused.
A decoder's crash ends it, and what a decoder prints is seen.
"""

import random
import resource
import sys
from collections import Counter
from pathlib import Path

from app.inference.decoding import decode_one
from app.problems import Problem
from model.images.reader import DrawingReader, PhotoReader
from tests.helpers.every_format import KINDS, changed, files_of

MEMORY = 1 << 30  # bytes beyond what the process holds when it has imported everything


def main() -> None:
    """Decode the files."""
    count, rng = int(sys.argv[1]), random.Random(0)  # noqa: S311
    files = {kind: files_of(kind) for kind in KINDS}
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
    for kind in KINDS:
        outcomes: Counter[str] = Counter()
        for _ in range(count):
            try:
                read = rng.choice([DrawingReader(28), PhotoReader(64)])
                decode_one(changed(rng.choice(files[kind]), rng), 0, read, 10**7)
                outcomes["read"] += 1
            except Problem as problem:
                if "more memory" in str(problem.detail):
                    raise
                outcomes["refused"] += 1
        sys.stdout.write(f"{kind}: {outcomes['read']} read, {outcomes['refused']} refused\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
