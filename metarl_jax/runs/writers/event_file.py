"""TensorBoard's event files, written by the calling thread, so that a failed write raises at once."""

import os
import socket
import struct
import time
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.record_writer import masked_crc32c

from metarl_jax.core.writing import append


class EventFile:
    """A new file of events in a folder, open during a write only."""

    def __init__(self, folder: Path, step: int):
        """Starts a file after `step`; TensorBoard hides later events of other files in the folder.

        Raises:
          WriteError: if the folder cannot be written.
        """
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
        self._path = folder / name
        self._step, self._written = step, set[str]()
        head = Event(wall_time=time.time(), file_version="brain.Event:2")
        begins = SessionLog(status=SessionLog.START)
        purge = Event(wall_time=time.time(), step=step + 1, session_log=begins)
        append(self._path, _record(head) + _record(purge))

    def write(self, step: int, numbers: dict[str, float]) -> None:
        """Writes the numbers by tag, except tags that this step already has.

        Raises:
          WriteError: if they cannot be written.
        """
        if step != self._step:
            self._step, self._written = step, set[str]()
        new = {tag: x for tag, x in numbers.items() if tag not in self._written}
        self._written |= new.keys()
        values = [Summary.Value(tag=tag, simple_value=x) for tag, x in new.items()]
        event = Event(wall_time=time.time(), step=step, summary=Summary(value=values))
        append(self._path, _record(event))


def _record(event: Event) -> bytes:
    """Encodes an event in the format of TensorBoard's files: the length and the bytes, each followed by a checksum."""
    data = event.SerializeToString()
    parts = (struct.pack("<Q", len(data)), data)
    return b"".join(part + struct.pack("<I", masked_crc32c(part)) for part in parts)
