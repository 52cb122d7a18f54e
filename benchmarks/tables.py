"""Tables in Markdown, and how their numbers are written."""

from collections.abc import Iterable, Iterator


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """The lines of a table in Markdown; numbers stand on the right."""
    columns = list(head)
    yield f"| {' | '.join(columns)} |"
    yield "|---" + "|---:" * (len(columns) - 1) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def cell(value: object) -> str:
    """Three digits that mean something."""
    match value:
        case bool() | str():
            return str(value)
        case float() if abs(value) < 1000:
            return f"{value:.3g}"
        case int() | float():
            return f"{value:,.0f}"
    raise TypeError(value)
