"""What workers, device processes and their parent see of each other: a little memory, and where devices listen."""

import math
import multiprocessing.sharedctypes
import socket
from pathlib import Path


class Board:
    """One line for each device process. It is made before anything is forked."""

    def __init__(self, devices: list[str], folder: Path) -> None:
        """`devices`: as PyTorch calls them, such as `cuda:0`. Sockets are made in the folder. Raises `OSError`."""
        self.devices = devices
        self.paths = [folder / f"device-{number}" for number in range(len(devices))]
        #: When each device process last began a turn, by the monotonic clock, which all processes share.
        self.beats = multiprocessing.sharedctypes.RawArray("d", [math.inf] * len(devices))
        #: Images that wait or run in each device process.
        self.images = multiprocessing.sharedctypes.RawArray("l", len(devices))
        self.listeners: list[socket.socket] = []
        for path in self.paths:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            listener.bind(str(path))
            listener.listen(1024)
            self.listeners.append(listener)

    def close(self) -> None:
        """Stop listening."""
        for listener in self.listeners:
            listener.close()
