"""What an evaluator does, as metrics and lines of the log: derived from its events and effects."""

from fedkseed import logs
from fedkseed.following import Following
from fedkseed.metrics.services import EvaluatorMetrics
from fedkseed.traffic import Traffic
from fedkseed.transport.door import Undecodable
from fedkseed_evaluator.machine import Effect, End, Evaluate, Evaluated, Event, State


class Observer:
    """Sees every event and effect of one evaluator, on the thread that decides.

    Args:
        metrics: of the evaluator.
        traffic: of its connection.
        state: as the evaluator is when it starts.
    """

    def __init__(self, metrics: EvaluatorMetrics, traffic: Traffic, state: State) -> None:
        self._metrics, self._traffic = metrics, traffic
        self._following = Following(metrics.following, state.replica)
        self.missing = self._following.missing

    def see(self, happening: Event | Effect, state: State) -> None:
        """See an event or an effect, and the state when it happens."""
        self._following(happening, state.replica)
        match happening:
            case Evaluate(version=version):
                logs.info("evaluation begun", version=version)
            case Evaluated(version=version, metrics=scores, seconds=seconds):
                self._metrics.scores.scored(version, scores)
                self._metrics.scoring.took(seconds)
                logs.info("evaluation", version=version, scores=dict(scores), seconds=seconds)
            case Undecodable():
                self._traffic.unreadable(happening)
            case End():
                logs.info("training is over")
            case _:
                pass
