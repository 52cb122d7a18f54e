"""RabbitMQ and Redis, as far as a federation depends on them: what they hold, what they have left, what they do."""

from deploy.grafana.dashboard import BAD, FAIR, GOOD, Dashboard, Panel, Query, Row, number
from deploy.grafana.promql import RABBITMQ as B
from deploy.grafana.promql import REDIS as R
from deploy.grafana.promql import SERVICES

BROKER, STORE = "operating.md#broker-and-store", "operating.md#broker-and-store"
OURS = 'cmd!~"(client|command|config|info|latency|ping|slowlog).*"'  # what an exporter asks is none of the ledger's
UP = {"0": ("down", BAD), "1": ("up", GOOD)}

STANDING = Row(
    title="Now",
    panels=(
        number(
            title="RabbitMQ",
            meaning="Nodes that Prometheus reaches. A cluster of three goes on without one of them.",
            see=BROKER,
            unit="none",
            queries=(Query(expr=f"sum({B('up')})", legend="nodes"),),
            steps=((None, BAD), (1, GOOD)),
        ),
        number(
            title="Alarms",
            meaning="A node that is short of memory or disk takes nothing from anybody.",
            see="operating.md#fedkseedbrokerblocked",
            unit="none",
            queries=(
                Query(expr=f"sum({B('rabbitmq_alarms_memory_used_watermark')})", legend="memory"),
                Query(expr=f"sum({B('rabbitmq_alarms_free_disk_space_watermark')})", legend="disk"),
            ),
            steps=((None, GOOD), (1, BAD)),
        ),
        number(
            title="Connections",
            meaning="Each service has two: one to publish, one to consume.",
            see="wire.md#over-rabbitmq",
            unit="none",
            queries=(Query(expr=f"sum({B('rabbitmq_connections')})", legend="connections"),),
        ),
        number(
            title="Redis",
            meaning="Whether the exporter reaches it. Without an exporter there is nothing here: see the ledger's page then.",
            see=STORE,
            unit="none",
            queries=(Query(expr=f"min({R('redis_up')})", legend="of the worst"),),
            names=UP,
        ),
        number(
            title="Append-only file",
            meaning="Whether Redis writes one, and whether its last write went well. A ledger without it is lost with its "
            "process.",
            see=STORE,
            unit="none",
            queries=(
                Query(expr=f"min({R('redis_aof_enabled')})", legend="enabled"),
                Query(expr=f"min({R('redis_aof_last_write_status')})", legend="last write"),
            ),
            names={"0": ("no", BAD), "1": ("yes", GOOD)},
        ),
        number(
            title="Evicted keys",
            meaning="Must stay zero: a Redis that evicts keys loses the ledger.",
            see=STORE,
            unit="none",
            queries=(Query(expr=f"sum({R('redis_evicted_keys_total')})", legend="keys"),),
            steps=((None, GOOD), (1, BAD)),
        ),
    ),
)

MESSAGES = Row(
    title="Messages",
    panels=(
        Panel(
            title="Messages in all queues",
            meaning="ready: nobody has them. unacknowledged: somebody does. Mailboxes of participants that are away fill up to "
            "their limit, and are removed after a week.",
            see="wire.md#exchanges-and-queues",
            unit="none",
            queries=(
                Query(expr=f"sum({B('rabbitmq_queue_messages_ready')})", legend="ready"),
                Query(expr=f"sum({B('rabbitmq_queue_messages_unacked')})", legend="unacknowledged"),
            ),
            low=0,
        ),
        Panel(
            title="Messages each second",
            meaning="Taken from publishers, confirmed to them, delivered to consumers, acknowledged by them.",
            see=BROKER,
            unit="ops",
            queries=(
                Query(expr=B.rate("rabbitmq_global_messages_received_total"), legend="received"),
                Query(expr=B.rate("rabbitmq_global_messages_confirmed_total"), legend="confirmed"),
                Query(expr=B.rate("rabbitmq_global_messages_delivered_total"), legend="delivered"),
                Query(expr=B.rate("rabbitmq_global_messages_acknowledged_total"), legend="acknowledged"),
            ),
            low=0,
        ),
        Panel(
            title="Messages that went astray",
            meaning="Without a queue, or delivered once more, each second. Receipts of participants that were never here go "
            "nowhere.",
            see=BROKER,
            unit="ops",
            queries=(
                Query(expr=B.rate("rabbitmq_global_messages_unroutable_returned_total"), legend="returned"),
                Query(expr=B.rate("rabbitmq_global_messages_unroutable_dropped_total"), legend="dropped"),
                Query(expr=B.rate("rabbitmq_global_messages_redelivered_total"), legend="delivered again"),
            ),
            colours={"dropped": BAD, "returned": FAIR},
            low=0,
        ),
    ),
)

NODE = Row(
    title="RabbitMQ's nodes",
    panels=(
        Panel(
            title="Memory",
            meaning="At its limit a node takes nothing more.",
            see="operating.md#fedkseedbrokerblocked",
            unit="bytes",
            queries=(
                Query(expr=B("rabbitmq_process_resident_memory_bytes"), legend="{{instance}}"),
                Query(expr=f"min({B('rabbitmq_resident_memory_limit_bytes')})", legend="limit"),
            ),
            colours={"limit": BAD},
            low=0,
        ),
        Panel(
            title="Disk that is left",
            meaning="Below its limit a node takes nothing more.",
            see="operating.md#fedkseedbrokerblocked",
            unit="bytes",
            queries=(
                Query(expr=B("rabbitmq_disk_space_available_bytes"), legend="{{instance}}"),
                Query(expr=f"max({B('rabbitmq_disk_space_available_limit_bytes')})", legend="limit"),
            ),
            colours={"limit": BAD},
            low=0,
        ),
        Panel(
            title="Connections opened and closed",
            meaning="Each second, at the broker; and those that the services lost or could not make.",
            see="operating.md#fedkseedconnectionflapping",
            unit="ops",
            queries=(
                Query(expr=B.rate("rabbitmq_connections_opened_total"), legend="opened"),
                Query(expr=B.rate("rabbitmq_connections_closed_total"), legend="closed"),
                Query(expr=SERVICES.rate("fedkseed_disconnects_total"), legend="lost by services"),
            ),
            low=0,
        ),
    ),
)

STORE_ROW = Row(
    title="Redis",
    panels=(
        Panel(
            title="Commands each second",
            meaning="Everything that aggregators and operators ask.",
            see=STORE,
            unit="ops",
            queries=(Query(expr=R.rate("redis_commands_processed_total"), legend="commands"),),
            low=0,
        ),
        Panel(
            title="Time of a command",
            meaning="Mean, of the five slowest kinds that the ledger uses. The disk is not in it: Redis writes after a command "
            "and before its answer. Fast commands in slow transactions mean a slow disk.",
            see="operating.md#fedkseedledgerslow",
            unit="s",
            queries=(
                Query(
                    expr=f"topk(5, {R.rate('redis_commands_duration_seconds_total', OURS, by='cmd')} / "
                    f"({R.rate('redis_commands_total', OURS, by='cmd')} > 0))",
                    legend="{{cmd}}",
                ),
            ),
            low=0,
        ),
        Panel(
            title="Memory and file",
            meaning="What the ledger takes in memory, and its append-only file on disk, which Redis rewrites now and then.",
            see=STORE,
            unit="bytes",
            queries=(
                Query(expr=f"sum({R('redis_memory_used_bytes')})", legend="memory"),
                Query(expr=f"sum({R('redis_aof_current_size_bytes')})", legend="append-only file"),
                Query(expr=f"sum({R('redis_memory_max_bytes')}) > 0", legend="limit of memory"),
            ),
            colours={"limit of memory": BAD},
            low=0,
        ),
        Panel(
            title="Clients",
            meaning="Connections to Redis.",
            see=STORE,
            unit="none",
            queries=(Query(expr=f"sum({R('redis_connected_clients')})", legend="connected"),),
            kind="steps",
            low=0,
        ),
        Panel(
            title="Bytes",
            meaning="In and out, each second. They grow with the number of updates, and of aggregators.",
            see=STORE,
            unit="Bps",
            queries=(
                Query(expr=R.rate("redis_net_input_bytes_total"), legend="in"),
                Query(expr=R.rate("redis_net_output_bytes_total"), legend="out"),
            ),
            low=0,
        ),
        Panel(
            title="Keys",
            meaning="A federation has few keys and a bounded number of them, beside its log.",
            see="ledger.md#the-log",
            unit="none",
            queries=(Query(expr=f"sum({R('redis_db_keys')})", legend="keys"),),
            kind="steps",
            low=0,
        ),
    ),
)

DASHBOARD = Dashboard(
    name="servers",
    title="Broker and Redis",
    meaning="RabbitMQ and Redis, as far as a federation depends on them.",
    rows=(STANDING, MESSAGES, NODE, STORE_ROW),
)
