"""Wires that break: a proxy in front of a server, which loses one message at a moment that the test chooses."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.wires import Tap
from benchmarks.wires import Wire as Proxy


@dataclass(frozen=True)
class Loss:
    """What is lost: a request with these words, or the reply to it."""

    request: bytes
    reply: bytes | None  # None: the request does not arrive. Else it does, and the reply, known by this, is not passed on
    meanwhile: Callable[[], object]  # is called before anybody notices


class Wire(Proxy):
    """Passes everything on to the server at a port, up to what is to be lost."""

    def __init__(self, port: int) -> None:
        self._loss: Loss | None = None
        super().__init__(port, taps=self._watched)

    @property
    def broke(self) -> bool:
        """Whether what was to be lost has been."""
        return self._loss is None

    def lose(self, loss: Loss) -> None:
        """Break the connection that sends the next request of a kind."""
        self._loss = loss

    def _watched(self) -> tuple[Tap, Tap]:
        answers: list[bytes] = []  # to the request whose reply is lost, once it has passed

        def up(data: bytes) -> bytes | None:
            if (loss := self._loss) is None or loss.request not in data:
                return data
            if loss.reply is None:
                return self._break(loss)
            answers.append(b"")
            return data

        def down(data: bytes) -> bytes | None:
            if (loss := self._loss) is None or loss.reply is None or not answers:
                return data
            answers[0] += data
            return self._break(loss) if loss.reply in answers[0] else b""

        return up, down

    def _break(self, loss: Loss) -> None:
        loss.meanwhile()
        self._loss = None
