"""How much an update that is `staleness` versions late still counts.

A law fills a table of integers over 65536 once, when a policy is set; folding only looks the table up.
"""

from fedkseed.federation import Rounds

ONE = 65536  # an update in full


def table(rounds: Rounds) -> tuple[int, ...]:
    """Discounts over 65536 for a staleness of 0 .. max_staleness, rounded half to even.

    Laws: `constant`; `polynomial` (1 + s)^-a, where a = 0.5 is FedBuff (Nguyen et al. 2022); `hinge` (Xie et al. 2019).
    """
    return tuple(round(ONE * _discount(rounds, staleness)) for staleness in range(rounds.max_staleness + 1))


def _discount(rounds: Rounds, staleness: int) -> float:
    match rounds.staleness_law:
        case "constant":
            return 1.0
        case "polynomial":
            return float((1 + staleness) ** -rounds.staleness_exponent)
        case "hinge":
            late = staleness - rounds.staleness_bound
            return 1.0 if late <= 0 else 1.0 / (rounds.staleness_exponent * late + 1)
