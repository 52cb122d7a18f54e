"""A TCP proxy in front of a broker that counts every byte of AMQP by what it is for.

It reads frames as they pass (AMQP 0-9-1, section 2.3) and changes nothing. Kinds: `set-up` (connection, channel, topology,
consumers), `heartbeat`, `method` (what says that a letter follows, with exchange and routing key), `properties`, `frame` (the
eight bytes around a piece of a body), `answer` (acknowledgements of a client, confirms of the broker), and the bodies by the
type of their message.
"""

from collections import Counter
from typing import Literal

from benchmarks import wires
from benchmarks.wires import Wire
from fedkseed.codec import decode

Direction = Literal["sent", "received"]  # as the client sees it

GREETING = 8  # bytes by which a client says which protocol it speaks
AROUND = 8  # bytes of a frame beside its payload: type, channel, size, end
METHOD, HEADER, BODY = 1, 2, 3
LETTERS = {(60, 40), (60, 60)}  # basic.publish, basic.deliver
ANSWER = (60, 80)  # basic.ack


class Tap:
    """Reads one direction of one connection.

    Args:
        direction: which one.
        counts: bytes by direction and kind; added to.
        letters: messages by direction and type; added to.
    """

    def __init__(self, direction: Direction, counts: Counter[tuple[str, str]], letters: Counter[tuple[str, str]]) -> None:
        self.direction, self.counts, self._letters = direction, counts, letters
        self._pending, self._body, self._missing = b"", b"", 0
        self._greeted = direction == "received"  # only clients greet
        self.begun = self.answered = 0  # letters that were announced; the highest number that was answered

    def read(self, data: bytes) -> None:
        """Count what has passed; a frame is counted once it is complete."""
        self._pending += data
        if not self._greeted and len(self._pending) >= GREETING:
            self._greeted, self._pending = True, self._pending[GREETING:]
            self._count("set-up", GREETING)
        while self._greeted and len(self._pending) >= AROUND - 1:
            size = AROUND + int.from_bytes(self._pending[3:7], "big")
            if len(self._pending) < size:
                return
            frame, self._pending = self._pending[:size], self._pending[size:]
            self._frame(frame[0], frame[7:-1])

    def _frame(self, kind: int, payload: bytes) -> None:
        whole = AROUND + len(payload)
        if kind == METHOD:
            self._count(self._method(payload), whole)
        elif kind == HEADER:
            self._body, self._missing = b"", int.from_bytes(payload[4:12], "big")
            self._count("properties", whole)
        elif kind == BODY:
            self._count("frame", AROUND)
            self._body += payload
            if len(self._body) == self._missing:
                name = type(decode(self._body)).__name__
                self._count(name, len(self._body))
                self._letters[self.direction, name] += 1
        else:
            self._count("heartbeat", whole)

    def _method(self, payload: bytes) -> str:
        which = (int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big"))
        if which in LETTERS:
            self.begun += 1
            return "method"
        if which == ANSWER:
            self.answered = max(self.answered, int.from_bytes(payload[4:12], "big"))
            return "answer"
        return "set-up"

    def _count(self, kind: str, size: int) -> None:
        self.counts[self.direction, kind] += size


class CountingWire(Wire):
    """Listens on a loopback port for one client, and passes everything on to a broker.

    Args:
        port: of the broker.
    """

    def __init__(self, port: int) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()  # bytes by (direction, kind)
        self.letters: Counter[tuple[str, str]] = Counter()  # messages by (direction, type)
        self.passed: Counter[str] = Counter()  # bytes by direction, whatever they are
        self._read: list[tuple[Tap, Tap]] = []
        super().__init__(port, taps=self._counted)

    @property
    def settled(self) -> bool:
        """Whether every letter that passed, in either direction, has been answered."""
        return all(up.begun == down.answered and down.begun == up.answered for up, down in self._read)

    def _counted(self) -> tuple[wires.Tap, wires.Tap]:
        up, down = Tap("sent", self.counts, self.letters), Tap("received", self.counts, self.letters)
        self._read.append((up, down))
        return self._count(up), self._count(down)

    def _count(self, tap: Tap) -> wires.Tap:
        def passing(data: bytes) -> bytes:
            self.passed[tap.direction] += len(data)
            tap.read(data)
            return data

        return passing
