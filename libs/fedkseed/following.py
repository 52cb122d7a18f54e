"""How a participant follows the ledger, as metrics and lines of the log: seen from its copy, whatever machine keeps it."""

from fedkseed import logs
from fedkseed.messages import Round, Snapshot
from fedkseed.metrics.participants import FollowingMetrics
from fedkseed.replica import MailArrived, Replica


class Following:
    """An observer of one replica.

    Args:
        metrics: of the service.
        replica: as the service has it when it starts.
    """

    def __init__(self, metrics: FollowingMetrics, replica: Replica) -> None:
        self._metrics, self._known = metrics, replica
        self._news: Round | Snapshot | None = None  # the newest mail
        self._show()

    def __call__(self, happening: object, replica: Replica) -> None:
        """Something happens; this is the replica when it does."""
        self._compare(replica)
        if isinstance(happening, MailArrived):
            self._news = happening.content

    def missing(self) -> list[str]:
        """What must be there before the service can work, and is not."""
        return [] if self._known.held else ["no version of the ledger is held yet"]

    def _compare(self, replica: Replica) -> None:
        before, self._known = self._known, replica
        if replica.mismatches > before.mismatches:
            self._metrics.mismatched()
            logs.warning("copy discarded", version=before.held and before.held.version)
        if replica.held is not before.held:
            self._show()
            if replica.held and (before.held is None or replica.held.version != before.held.version):
                self._caught_up(replica.held.version)

    def _caught_up(self, version: int) -> None:
        by = "snapshot" if isinstance(self._news, Snapshot) else "delta"
        self._metrics.caught_up(by)
        logs.info("caught up", version=version, attempt=self._known.held and self._known.held.round.attempt, by=by)

    def _show(self) -> None:
        self._metrics.holds(self._known.held.version if self._known.held else -1)
