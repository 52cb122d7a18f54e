"""Clients and evaluators: who follows, who is behind, what training takes, and what becomes of it."""

from deploy.grafana.dashboard import BAD, FAIR, GOOD, Dashboard, Panel, Query, Row, number
from deploy.grafana.federation import OUTCOMES
from deploy.grafana.promql import AGGREGATORS, BRIEF, CLIENTS, EVALUATORS, WINDOW, Job

C = Job(name=CLIENTS.name, chosen=True)
PARTICIPANTS = Job(name=f"{CLIENTS.name}|{EVALUATORS.name}", chosen=True)
E = Job(name=EVALUATORS.name, chosen=True)
TRAINING, FOLLOWING = "metrics.md#clients", "metrics.md#clients-and-evaluators"
NEWEST = f"scalar(max({AGGREGATORS('fedkseed_version')}))"
MANY = 10  # instances that a panel names


def worst(expr: str) -> str:
    """The highest, so that a thousand clients are as readable as ten."""
    return f"topk({MANY}, {expr})"


STANDING = Row(
    title="Who is there",
    panels=(
        number(
            title="Up",
            meaning="Participants that Prometheus reaches: clients that dial out from elsewhere are not among them.",
            see="privacy.md",
            unit="none",
            queries=(Query(expr=f"sum({C('up')})", legend="clients"), Query(expr=f"sum({E('up')})", legend="evaluators")),
        ),
        number(
            title="Training now",
            meaning="Clients that compute. The others wait for a round, for their hours, or for a receipt.",
            see=TRAINING,
            unit="none",
            queries=(Query(expr=f"sum({C('fedkseed_training_active')})", legend="clients"),),
        ),
        number(
            title="Behind",
            meaning="Participants that do not hold the newest version.",
            see=FOLLOWING,
            unit="none",
            queries=(
                Query(expr=f"count({PARTICIPANTS('fedkseed_held_version')} < {NEWEST}) or vector(0)", legend="participants"),
            ),
        ),
        number(
            title="Not connected",
            meaning="Participants with a connection that is down.",
            see="operating.md#fedkseedconnectionflapping",
            unit="none",
            queries=(
                Query(
                    expr=f"count(min by (instance) ({PARTICIPANTS('fedkseed_line_up')}) == 0) or vector(0)",
                    legend="participants",
                ),
            ),
            steps=((None, GOOD), (1, FAIR)),
        ),
        number(
            title="Digest mismatches",
            meaning="Copies of the ledger that were discarded in the window: memory or a disk has failed, or somebody has "
            "lied.",
            see="operating.md#fedkseeddigestmismatch",
            unit="none",
            queries=(Query(expr=PARTICIPANTS.increase("fedkseed_digest_mismatches_total"), legend="copies"),),
            steps=((None, GOOD), (0.5, BAD)),
            decimals=0,
        ),
        number(
            title="Updates that count",
            meaning="Share of the receipts of the window that say folded or discounted.",
            see="operating.md#fedkseedupdatesrefused",
            unit="percentunit",
            queries=(
                Query(
                    expr=C.increase("fedkseed_receipts_total", 'outcome=~"folded|discounted"')
                    + " / "
                    + C.increase("fedkseed_receipts_total"),
                    legend="share",
                ),
            ),
            steps=((None, BAD), (0.5, FAIR), (0.75, GOOD)),
        ),
    ),
)

STRAGGLERS = Row(
    title="Stragglers",
    panels=(
        Panel(
            title="Versions behind",
            meaning="How far the copies of those that are furthest behind are from the newest version. "
            "One beyond the bound of staleness trains in vain.",
            see="ledger.md#what-is-accepted",
            unit="none",
            queries=(
                Query(
                    expr=worst(f"{NEWEST} - {PARTICIPANTS('fedkseed_held_version')}"),
                    legend="{{instance}}",
                ),
            ),
            kind="steps",
            low=0,
        ),
        Panel(
            title="Time of a training",
            meaning="Mean over the window, of the slowest clients. Longer than the deadline of a round means late, and perhaps "
            "stale.",
            see=TRAINING,
            unit="s",
            queries=(Query(expr=worst(C.mean("fedkseed_training_seconds", by="instance")), legend="{{instance}}"),),
            low=0,
        ),
        Panel(
            title="Time until the receipt",
            meaning="From publishing an update to its receipt: the broker, the aggregator and the ledger.",
            see=TRAINING,
            unit="s",
            queries=(
                Query(expr=C.quantile(0.5, "fedkseed_receipt_latency_seconds"), legend="half"),
                Query(expr=C.quantile(0.95, "fedkseed_receipt_latency_seconds"), legend="95 %"),
            ),
            low=0,
        ),
        Panel(
            title="Refused, by client",
            meaning="Share of the receipts of the window that refuse, of the clients that are refused most.",
            see="operating.md#fedkseedupdatesrefused",
            unit="percentunit",
            queries=(
                Query(
                    expr=worst(
                        C.increase("fedkseed_receipts_total", 'outcome!~"folded|discounted"', by="instance")
                        + " / "
                        + C.increase("fedkseed_receipts_total", by="instance")
                    ),
                    legend="{{instance}}",
                ),
            ),
            low=0,
            high=1,
        ),
        Panel(
            title="Trainings by their end",
            meaning="In the window. Abandoned: a round was closed meanwhile. Declined: not now, for instance outside a "
            "client's hours.",
            see=TRAINING,
            unit="none",
            queries=(Query(expr=C.increase("fedkseed_trainings_total", by="end"), legend="{{end}}"),),
            kind="stacked",
            colours={"trained": GOOD, "abandoned": FAIR, "declined": "gray"},
            low=0,
        ),
        Panel(
            title="Catching up",
            meaning="Versions reached in the window, by an announcement alone (delta), or by a whole snapshot: after an "
            "absence.",
            see=FOLLOWING,
            unit="none",
            queries=(Query(expr=PARTICIPANTS.increase("fedkseed_catch_ups_total", by="by"), legend="{{by}}"),),
            kind="stacked",
            low=0,
        ),
    ),
)

QUARANTINE = Row(
    title="Quarantine",
    panels=(
        Panel(
            title="Quarantined clients",
            meaning="Excluded by robust folding until an operator lifts it; and clients that have been told so, and train no "
            "more.",
            see="operating.md#fedkseedclientquarantined",
            unit="none",
            queries=(
                Query(expr=f"max({AGGREGATORS('fedkseed_quarantined_clients')})", legend="excluded"),
                Query(expr=f"sum({C('fedkseed_training_quarantined')})", legend="told so"),
            ),
            kind="steps",
            colours={"excluded": BAD, "told so": FAIR},
            low=0,
        ),
        Panel(
            title="Largest suspicion",
            meaning="In pairs of an update, of the client that disagrees most with the others. At `robust.quarantine` it is "
            "excluded, and the next one is shown.",
            see="robust-folding.md#who-disagrees",
            unit="short",
            queries=(Query(expr=f"max({AGGREGATORS('fedkseed_suspicion_pairs')})", legend="pairs"),),
            kind="steps",
            low=0,
        ),
    ),
)

COMPUTING = Row(
    title="Training",
    panels=(
        Panel(
            title="Loss while training",
            meaning="Mean loss of each client's last training. Clients differ as their data do.",
            see="training.md",
            unit="short",
            queries=(Query(expr=worst(f"{C('fedkseed_training_loss')} > -Inf"), legend="{{instance}}"),),
            kind="steps",
        ),
        Panel(
            title="Time of a batch",
            meaning="Mean of a batch over the window: forward passes, two with one direction, and writing perturbed weights.",
            see="training.md",
            unit="s",
            queries=(Query(expr=C.mean("fedkseed_train_step_seconds", by="part"), legend="{{part}}"),),
            kind="stacked",
            low=0,
        ),
        Panel(
            title="Steps",
            meaning="Local steps each second, and those that gave no usable scalar: the loss was not finite, or the same on "
            "both sides.",
            see="training.md",
            unit="ops",
            queries=(
                Query(expr=C.rate("fedkseed_train_steps_total", over=WINDOW), legend="steps"),
                Query(expr=C.rate("fedkseed_train_steps_skipped_total", over=WINDOW), legend="skipped"),
            ),
            colours={"steps": GOOD, "skipped": BAD},
            low=0,
        ),
        Panel(
            title="Receipts",
            meaning="In the window, by outcome.",
            see="wire.md",
            unit="none",
            queries=(Query(expr=C.increase("fedkseed_receipts_total", by="outcome"), legend="{{outcome}}"),),
            kind="stacked",
            colours=OUTCOMES,
            low=0,
        ),
        Panel(
            title="Bytes of a client",
            meaning="On its connections, each second, of the clients with the most.",
            see="privacy.md",
            unit="Bps",
            queries=(Query(expr=worst(C.rate("fedkseed_socket_bytes_total", by="instance")), legend="{{instance}}"),),
            low=0,
        ),
        Panel(
            title="Memory",
            meaning="Resident, of the clients with the most: the base model, its perturbed copy and a batch.",
            see="metrics.md#every-service",
            unit="bytes",
            queries=(Query(expr=worst(C("process_resident_memory_bytes")), legend="{{instance}}"),),
            low=0,
        ),
    ),
)

EVALUATING = Row(
    title="Evaluators",
    panels=(
        Panel(
            title="Versions made and scored",
            meaning="An evaluator that stays behind skips to the newest version that is due.",
            see="metrics.md#aggregator-and-evaluators",
            unit="none",
            queries=(
                Query(expr=f"max({AGGREGATORS('fedkseed_version')})", legend="made"),
                Query(expr=E("fedkseed_evaluated_version"), legend="scored by {{instance}}"),
            ),
            kind="steps",
        ),
        Panel(
            title="Time of an evaluation",
            meaning="To rebuild and score a version, mean over the window.",
            see="metrics.md#evaluators",
            unit="s",
            queries=(Query(expr=E.mean("fedkseed_evaluation_seconds", by="instance"), legend="{{instance}}"),),
            low=0,
        ),
        Panel(
            title="Processor",
            meaning="Cores in use by participants, of those with the most.",
            see="metrics.md#every-service",
            unit="short",
            queries=(
                Query(
                    expr=worst(f"rate({PARTICIPANTS('process_cpu_seconds_total', over=BRIEF)})"),
                    legend="{{job}} {{instance}}",
                ),
            ),
            low=0,
        ),
    ),
)

DASHBOARD = Dashboard(
    name="clients",
    title="Clients and stragglers",
    meaning="Who follows, who is behind, what training takes, and what becomes of it.",
    rows=(STANDING, STRAGGLERS, QUARANTINE, COMPUTING, EVALUATING),
    instances=f"{CLIENTS.name}|{EVALUATORS.name}",
)
