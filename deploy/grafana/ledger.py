"""Aggregators and their ledger: what each does, how the store answers, what waits, and the connection to the broker."""

from deploy.grafana.dashboard import BAD, FAIR, GOOD, Dashboard, Panel, Query, Row, number
from deploy.grafana.federation import OUTCOMES
from deploy.grafana.promql import AGGREGATORS, BRIEF, Job

A = Job(name=AGGREGATORS.name, chosen=True)
AGGREGATOR, EVERY = "metrics.md#aggregator", "metrics.md#every-service"
HELD = A("fedkseed_deliveries_held", 'queue=~"updates|snapshots|evaluations"')
UP = {"0": ("down", BAD), "1": ("up", GOOD)}

STANDING = Row(
    title="Aggregators",
    panels=(
        number(
            title="Up",
            meaning="Aggregators that Prometheus reaches. One is enough; a second one takes over without a pause.",
            see="operating.md#fedkseednoaggregator",
            unit="none",
            queries=(Query(expr=f"sum({A('up')})", legend="aggregators"),),
            steps=((None, BAD), (1, GOOD)),
        ),
        number(
            title="Ledger",
            meaning="Whether the ledger's store answered each aggregator the last time.",
            see="operating.md#fedkseedledgerunreachable",
            unit="none",
            queries=(Query(expr=f"min({A('fedkseed_ledger_up')})", legend="of the worst"),),
            names=UP,
        ),
        number(
            title="Broker",
            meaning="Whether both connections of every aggregator are up.",
            see="operating.md#fedkseedbrokerunreachable",
            unit="none",
            queries=(Query(expr=f"min({A('fedkseed_line_up')})", legend="of the worst"),),
            names=UP,
        ),
        number(
            title="Not announced",
            meaning="Versions that were made and not announced. Anything but zero for more than some seconds means that nobody "
            "trains.",
            see="operating.md#fedkseedannouncedbehind",
            unit="none",
            queries=(
                Query(
                    expr=f"max({A('fedkseed_version')}) - max({A('fedkseed_announced_version')})",
                    legend="versions",
                ),
            ),
            steps=((None, GOOD), (1, FAIR)),
        ),
        number(
            title="Dead letters",
            meaning="Deliveries that wait for somebody to look at them.",
            see="operating.md#fedkseeddeadletters",
            unit="none",
            queries=(Query(expr="max(" + A("fedkseed_queue_messages", 'queue="dead"') + ")", legend="letters"),),
            steps=((None, GOOD), (1, FAIR)),
        ),
        number(
            title="Running",
            meaning="Instances by version of fedkseed and of Python.",
            see=EVERY,
            unit="none",
            queries=(
                Query(expr=f"count by (version, python) ({A('fedkseed_build_info')})", legend="{{version}}, Python {{python}}"),
            ),
        ),
    ),
)

LEDGER = Row(
    title="Ledger",
    panels=(
        Panel(
            title="Time of a transaction",
            meaning="With all its attempts. Redis writes to its disk before it answers, so this is mostly the disk's time.",
            see="operating.md#fedkseedledgerslow",
            unit="s",
            queries=tuple(
                Query(expr=A.quantile(q, "fedkseed_ledger_transaction_seconds"), legend=name)
                for q, name in ((0.5, "half"), (0.95, "95 %"), (0.99, "99 %"))
            ),
            steps=((None, GOOD), (0.5, BAD)),
            low=0,
        ),
        Panel(
            title="Transactions",
            meaning="Changes made, attempts that lost a race against another writer, and attempts that were not answered, each "
            "second.",
            see="operating.md#fedkseedledgerconflicts",
            unit="ops",
            queries=(
                Query(expr=A.rate("fedkseed_ledger_transaction_seconds_count"), legend="made"),
                Query(expr=A.rate("fedkseed_ledger_conflicts_total"), legend="lost a race"),
                Query(expr=A.rate("fedkseed_ledger_unreachable_total"), legend="not answered"),
            ),
            colours={"made": GOOD, "lost a race": FAIR, "not answered": BAD},
            low=0,
        ),
        Panel(
            title="Updates decided together",
            meaning="Size of the micro-batches. It grows by itself under load: each transaction then carries more.",
            see=AGGREGATOR,
            unit="none",
            queries=(
                Query(expr=A.mean("fedkseed_update_batch_size"), legend="mean"),
                Query(expr=A.quantile(0.95, "fedkseed_update_batch_size"), legend="95 %"),
            ),
            low=0,
        ),
    ),
)

WORK = Row(
    title="Work",
    panels=(
        Panel(
            title="Updates by aggregator",
            meaning="Updates decided each second. Aggregators share the work as the broker deals it out.",
            see=AGGREGATOR,
            unit="ops",
            queries=(Query(expr=A.rate("fedkseed_updates_total", by="instance"), legend="{{instance}}"),),
            kind="stacked",
            low=0,
        ),
        Panel(
            title="Refusals",
            meaning="Updates that did not count in the window, by reason.",
            see="operating.md#fedkseedupdatesrefused",
            unit="none",
            queries=(
                Query(
                    expr=A.increase("fedkseed_updates_total", 'outcome!~"folded|discounted"', by="outcome"),
                    legend="{{outcome}}",
                ),
            ),
            kind="stacked",
            colours=OUTCOMES,
            low=0,
        ),
        Panel(
            title="Weight of the updates that count",
            meaning="Omega: a small one is that of little data or great staleness.",
            see="ledger.md#from-updates-to-a-version",
            unit="short",
            queries=(
                Query(expr=A.mean("fedkseed_update_weight"), legend="mean"),
                Query(expr=A.quantile(0.95, "fedkseed_update_weight"), legend="95 %"),
            ),
            low=0,
        ),
    ),
)

WAITING = Row(
    title="What waits",
    panels=(
        Panel(
            title="Messages in queues",
            meaning="Not handed out yet; looked at every ten seconds.",
            see="operating.md#fedkseedupdatesqueuegrowing",
            unit="none",
            queries=(Query(expr=f"max by (queue) ({A('fedkseed_queue_messages')})", legend="{{queue}}"),),
            kind="steps",
            colours={"dead": BAD},
            low=0,
        ),
        Panel(
            title="Deliveries not acknowledged",
            meaning="Handed to an aggregator and under way: bounded by its prefetch.",
            see=EVERY,
            unit="none",
            queries=(Query(expr=f"sum by (queue) ({HELD})", legend="{{queue}}"),),
            kind="steps",
            low=0,
        ),
        Panel(
            title="Dead letters and deliveries that came again",
            meaning="In the window: dead letters by reason, redeliveries by message, deliveries over a sender's quota by "
            "queue. After a broken connection deliveries come again.",
            see="operating.md#fedkseeddeadletters",
            unit="none",
            queries=(
                Query(expr=A.increase("fedkseed_dead_letters_total", by="reason") + " > 0", legend="dead: {{reason}}"),
                Query(expr=A.increase("fedkseed_redeliveries_total", by="message") + " > 0", legend="again: {{message}}"),
                Query(expr=A.increase("fedkseed_over_quota_total", by="queue") + " > 0", legend="over quota: {{queue}}"),
            ),
            low=0,
        ),
    ),
)

CONNECTION = Row(
    title="Connection to the broker",
    panels=(
        Panel(
            title="Connections",
            meaning="Connections of each aggregator that are up: two when all is well. And how often one was lost in the "
            "window, or could not be made.",
            see="operating.md#fedkseedconnectionflapping",
            unit="none",
            queries=(
                Query(expr=f"sum by (instance) ({A('fedkseed_line_up')})", legend="up: {{instance}}"),
                Query(expr=A.increase("fedkseed_disconnects_total", by="instance"), legend="lost: {{instance}}"),
            ),
            low=0,
        ),
        Panel(
            title="Publications",
            meaning="Each second by answer, and those that the broker has not answered now. Unconfirmed ones are repeated.",
            see=EVERY,
            unit="short",
            queries=(
                Query(expr=A.rate("fedkseed_publications_total", by="answer"), legend="{{answer}} / s"),
                Query(expr=f"sum({A('fedkseed_publications_unconfirmed')})", legend="outstanding"),
            ),
            low=0,
        ),
        Panel(
            title="What the broker does not take",
            meaning="Share of time that it is blocked; messages without a queue, and queues that were full, each second.",
            see="operating.md#fedkseedbrokerblocked",
            unit="short",
            queries=(
                Query(
                    expr=f"max(rate({A('fedkseed_broker_blocked_seconds_total', over=BRIEF)}))", legend="blocked, share of time"
                ),
                Query(expr=A.rate("fedkseed_returned_total", by="required"), legend="no queue (required: {{required}})"),
                Query(expr=A.rate("fedkseed_refused_total"), legend="queue full"),
            ),
            low=0,
        ),
    ),
)

PROCESSES = Row(
    title="Processes",
    panels=(
        Panel(
            title="Processor",
            meaning="Cores in use.",
            see=EVERY,
            unit="short",
            queries=(Query(expr=f"rate({A('process_cpu_seconds_total', over=BRIEF)})", legend="{{instance}}"),),
            low=0,
        ),
        Panel(
            title="Memory",
            meaning="Resident. It does not grow with the number of rounds.",
            see=EVERY,
            unit="bytes",
            queries=(Query(expr=A("process_resident_memory_bytes"), legend="{{instance}}"),),
            low=0,
        ),
        Panel(
            title="Bytes on the connections",
            meaning="Everything that AMQP sends and receives, heartbeats and handshakes too.",
            see=EVERY,
            unit="Bps",
            queries=(Query(expr=A.rate("fedkseed_socket_bytes_total", by="direction"), legend="{{direction}}"),),
            low=0,
        ),
    ),
)

DASHBOARD = Dashboard(
    name="ledger",
    title="Aggregator and ledger",
    meaning="What each aggregator does, how the ledger's store answers, and what waits.",
    rows=(STANDING, LEDGER, WORK, WAITING, CONNECTION, PROCESSES),
    instances=AGGREGATORS.name,
)
