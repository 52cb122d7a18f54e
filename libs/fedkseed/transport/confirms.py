"""Which publications of one channel the broker has not answered yet.

A broker numbers the letters of a channel from 1 and answers numbers, alone or up to one; a publication is done once each of
its letters is answered, and good if each was taken.
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(slots=True)
class _Publication:
    """Some letters with neighbouring numbers."""

    token: int
    unanswered: int
    taken: bool = True


class Confirms:
    """The books of one channel; a new channel begins with new ones."""

    def __init__(self) -> None:
        self._published = 0
        self._settled = 0  # everything up to this number is answered
        self._waiting: dict[int, _Publication] = {}  # by number, ascending

    def publish(self, token: int, letters: int) -> None:
        """So many letters, at least one, were published under a token."""
        publication = _Publication(token, letters)
        for _ in range(letters):
            self._published += 1
            self._waiting[self._published] = publication

    def answer(self, number: int, *, multiple: bool, taken: bool) -> Iterator[tuple[int, bool]]:
        """A number was answered, or all up to it; the tokens that are done by that, and whether they are good."""
        numbers = range(self._settled + 1, number + 1) if multiple else (number,)
        if multiple:
            self._settled = max(self._settled, number)
        for each in numbers:
            publication = self._waiting.pop(each, None)
            if publication is None:
                continue
            publication.unanswered -= 1
            publication.taken &= taken
            if not publication.unanswered:
                yield publication.token, publication.taken

    def unanswered(self) -> tuple[int, ...]:
        """The tokens that are not done, in the order of publishing."""
        return tuple(dict.fromkeys(publication.token for publication in self._waiting.values()))
