"""The first page: where the federation stands, what it learns, and what that takes."""

from deploy.grafana.dashboard import BAD, FAIR, GOOD, PLAIN, Dashboard, Panel, Query, Row, number
from deploy.grafana.promql import AGGREGATORS as A
from deploy.grafana.promql import CLIENTS as C
from deploy.grafana.promql import EVALUATORS as E
from deploy.grafana.promql import FEDERATION, WINDOW

ROUNDS = "metrics.md#aggregator"
OUTCOMES = {
    "folded": GOOD,
    "discounted": "yellow",
    "stale": FAIR,
    "ahead": "purple",
    "mismatch": "dark-red",
    "uninvited": "light-blue",
    "invalid": BAD,
    "quarantined": "dark-purple",
    "voided": "gray",
    "duplicate": "dark-gray",
}
IS_OPEN = A("fedkseed_state", 'state="open"')
LOSS = A("fedkseed_evaluation_score", 'metric="loss"')
OTHER_SCORES = A("fedkseed_evaluation_score", 'metric!="loss"')
LEFT = f"(max({A('fedkseed_round_deadline_timestamp_seconds')}) - time()) and on() (max({IS_OPEN}) == 1)"

STANDING = Row(
    title="Where it stands",
    panels=(
        Panel(
            title="State",
            meaning="open: rounds close. paused: an operator keeps them from closing. closed: training has ended, for good.",
            see="operating.md#changing-it",
            unit="none",
            queries=(Query(expr=f"max by (state) ({A('fedkseed_state')}) == 1", legend="{{state}}"),),
            kind="word",
            width=3,
            height=4,
            colours={"open": GOOD, "paused": FAIR, "closed": PLAIN},
        ),
        number(
            title="Version",
            meaning="The newest version of the model: how many times the ledger was moved.",
            see=ROUNDS,
            unit="none",
            queries=(Query(expr=f"max({A('fedkseed_version')})", legend="version"),),
            width=3,
        ),
        number(
            title="Updates of the open round",
            meaning="What the open round has, and what closes it. At its deadline the minimum is enough.",
            see="federation-toml.md#rounds",
            unit="none",
            queries=(
                Query(expr=f"max({A('fedkseed_round_members')})", legend="has"),
                Query(expr=f"max({A('fedkseed_round_cohort')})", legend="cohort"),
                Query(expr=f"max({A('fedkseed_round_minimum')})", legend="minimum"),
            ),
            width=5,
        ),
        number(
            title="Attempt",
            meaning="How often the open round was announced again: after a deadline that too few met, or after a pause.",
            see="operating.md#fedkseedroundextended",
            unit="none",
            queries=(Query(expr=f"max({A('fedkseed_round_attempt')})", legend="attempt"),),
            width=3,
            steps=((None, GOOD), (1, FAIR), (2, BAD)),
        ),
        number(
            title="Until the deadline",
            meaning="Time that the open round has left. Below zero, no aggregator acts: it must be closed or announced again "
            "at once.",
            see="operating.md#fedkseedroundoverdue",
            unit="s",
            queries=(Query(expr=LEFT, legend="left"),),
            width=3,
            steps=((None, BAD), (0, GOOD)),
            decimals=0,
        ),
        number(
            title="Since the last commit",
            meaning="Age of the newest version.",
            see="operating.md#fedkseednocommit",
            unit="s",
            queries=(Query(expr=f"time() - max({A('fedkseed_last_commit_timestamp_seconds')})", legend="age"),),
            width=3,
            decimals=0,
        ),
        number(
            title="Firing alerts",
            meaning="Alerts of fedkseed that fire now; their pages say what to do.",
            see="operating.md#alerts",
            unit="none",
            queries=(
                Query(
                    expr=f'count(ALERTS{{alertname=~"Fedkseed.*", alertstate="firing", {FEDERATION}}}) or vector(0)',
                    legend="alerts",
                ),
            ),
            width=4,
            steps=((None, GOOD), (1, BAD)),
        ),
    ),
)

LEARNING = Row(
    title="What it learns",
    panels=(
        Panel(
            title="Loss",
            meaning="Loss on the held-out examples, of the newest version that was scored; and what clients measured while "
            "they trained.",
            see="operating.md#fedkseedevaluationdiverging",
            unit="short",
            queries=(
                Query(expr=f"max({LOSS})", legend="held-out"),
                Query(expr=f"avg({C('fedkseed_training_loss')} > -Inf)", legend="training, mean of clients"),
            ),
            kind="steps",
        ),
        Panel(
            title="Accuracy and ROUGE-L",
            meaning="The other scores of the newest version that was scored; which of them there are depends on the objective.",
            see="federation-toml.md#evaluation",
            unit="percentunit",
            queries=(Query(expr=f"max by (metric) ({OTHER_SCORES}) >= 0", legend="{{metric}}"),),
            kind="steps",
            low=0,
            high=1,
        ),
        Panel(
            title="Versions",
            meaning="Made, announced, scored, and held by the slowest client: lines that lie apart are what waits.",
            see=ROUNDS,
            unit="none",
            queries=(
                Query(expr=f"max({A('fedkseed_version')})", legend="made"),
                Query(expr=f"max({A('fedkseed_announced_version')})", legend="announced"),
                Query(expr=f"max({A('fedkseed_evaluated_version')})", legend="scored"),
                Query(expr=f"min({C('fedkseed_held_version')})", legend="held by the slowest client"),
            ),
            kind="steps",
        ),
    ),
)

ROUNDS_ROW = Row(
    title="Rounds",
    panels=(
        Panel(
            title="Progress of the open round",
            meaning="Its updates, how many close it, and how many are enough at its deadline.",
            see="federation-toml.md#rounds",
            unit="none",
            queries=(
                Query(expr=f"max({A('fedkseed_round_members')})", legend="updates"),
                Query(expr=f"max({A('fedkseed_round_cohort')})", legend="cohort"),
                Query(expr=f"max({A('fedkseed_round_minimum')})", legend="minimum"),
            ),
            kind="steps",
            low=0,
        ),
        Panel(
            title="Time left until the deadline",
            meaning="Of the open round. It jumps up when a round is opened or announced again; below zero nobody acts.",
            see="operating.md#fedkseedroundoverdue",
            unit="s",
            queries=(Query(expr=LEFT, legend="left"),),
            steps=((None, BAD), (0, GOOD)),
        ),
        Panel(
            title="Duration of rounds",
            meaning="From opening a round to its commit, over the window.",
            see=ROUNDS,
            unit="s",
            queries=(
                Query(expr=A.mean("fedkseed_round_duration_seconds"), legend="mean"),
                Query(expr=A.quantile(0.95, "fedkseed_round_duration_seconds"), legend="95 %"),
            ),
            low=0,
        ),
        Panel(
            title="What rounds take their time for",
            meaning="Mean of each part over the window: until the first update, from there until there are enough, the closing "
            "transaction, and the announcement of the next round.",
            see=ROUNDS,
            unit="s",
            queries=(Query(expr=A.mean("fedkseed_round_part_seconds", by="part"), legend="{{part}}"),),
            kind="stacked",
            low=0,
        ),
        Panel(
            title="Commits and extensions",
            meaning="Versions made in the window, by what made them, and rounds that were announced once more.",
            see=ROUNDS,
            unit="none",
            queries=(
                Query(expr=A.increase("fedkseed_commits_total", by="kind"), legend="{{kind}}"),
                Query(expr=A.increase("fedkseed_round_extensions_total"), legend="extended"),
            ),
            colours={"round": GOOD, "rollback": BAD, "voided": "gray", "extended": FAIR},
            low=0,
        ),
        Panel(
            title="Services",
            meaning="Processes that Prometheus reaches. Clients may come and go; rounds need the minimum of them.",
            see="operating.md#fedkseednoaggregator",
            unit="none",
            queries=(
                Query(expr=f"sum({A('up')})", legend="aggregators"),
                Query(expr=f"sum({C('up')})", legend="clients"),
                Query(expr=f"sum({E('up')})", legend="evaluators"),
            ),
            kind="steps",
            low=0,
        ),
    ),
)

UPDATES = Row(
    title="Updates",
    panels=(
        Panel(
            title="Outcomes",
            meaning="Updates decided in the window. folded and discounted count; everything else is refused, with a receipt "
            "that says why.",
            see="operating.md#fedkseedupdatesrefused",
            unit="none",
            queries=(Query(expr=A.increase("fedkseed_updates_total", by="outcome"), legend="{{outcome}}"),),
            kind="stacked",
            colours=OUTCOMES,
            low=0,
        ),
        Panel(
            title="Latency",
            meaning="From the opening of the round that an update answers to its fold: training, waiting and the way there.",
            see=ROUNDS,
            unit="s",
            queries=(
                Query(expr=A.quantile(0.5, "fedkseed_update_latency_seconds"), legend="half"),
                Query(expr=A.quantile(0.95, "fedkseed_update_latency_seconds"), legend="95 %"),
                Query(expr=A.mean("fedkseed_update_latency_seconds"), legend="mean"),
            ),
            low=0,
        ),
        Panel(
            title="Staleness",
            meaning="Versions that were made between the base of an update and its fold, of the updates that count.",
            see="ledger.md",
            unit="short",
            queries=(
                Query(expr=A.mean("fedkseed_update_staleness_versions"), legend="mean"),
                Query(expr=A.quantile(0.95, "fedkseed_update_staleness_versions"), legend="95 %"),
            ),
            low=0,
        ),
    ),
)

TRAFFIC = Row(
    title="Traffic, and what is drawn",
    panels=(
        Panel(
            title="Bytes of a round for each client",
            meaning="Announcement, update and receipt of the last closed round, with the frames of AMQP.",
            see=ROUNDS,
            unit="bytes",
            queries=(
                Query(expr=f"max by (statistic) ({A('fedkseed_last_round_client_bytes')}) >= 0", legend="{{statistic}}"),
                Query(expr=A.mean("fedkseed_round_client_bytes"), legend="mean of the window"),
            ),
            kind="steps",
            low=0,
        ),
        Panel(
            title="Messages of aggregators",
            meaning="Bytes a second by message, with the frames of AMQP.",
            see="wire.md",
            unit="Bps",
            queries=(
                Query(
                    expr=A.rate("fedkseed_message_framed_bytes_total", by="direction, message", over=WINDOW) + " > 0",
                    legend="{{message}} {{direction}}",
                ),
            ),
            kind="stacked",
            low=0,
        ),
        Panel(
            title="Importance of seeds",
            meaning="Entropy of the probabilities that seeds are drawn with, as a share of the highest: 1 where all are "
            "equally likely. "
            "And how likely the most likely hundredth is.",
            see="ledger.md",
            unit="percentunit",
            queries=(
                Query(expr=f"max({A('fedkseed_importance_entropy_ratio')})", legend="entropy"),
                Query(expr=f"max({A('fedkseed_importance_top_ratio')})", legend="most likely hundredth"),
            ),
            low=0,
            high=1,
        ),
    ),
)

DASHBOARD = Dashboard(
    name="federation",
    title="Federation",
    meaning="Where the federation stands, what it learns, and what that takes.",
    rows=(STANDING, LEARNING, ROUNDS_ROW, UPDATES, TRAFFIC),
)
