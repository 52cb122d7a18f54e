"""RabbitMQ nodes that are one broker, on loopback, and what their operator can do to them.

The first node is founded, the others join it when they start for the first time. All share a home, for its cookie, and one
mapper of names to ports (epmd), which is never killed. The operator speaks with a node over Erlang's distribution
(`erl_call`), which takes milliseconds where `rabbitmqctl` takes seconds; the functions called are those that it calls.
"""

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fedkseed_local.program import Program, find
from fedkseed_local.servers import LOOPBACK, RabbitServer, free_port

CALL_SECONDS = 20.0
MEMORY, DISK = "0.6", "50000000"  # the watermark and the limit that stand between faults
FULL = "faults"  # the name of a policy


class Node(RabbitServer):
    """One of several nodes.

    Args:
        folder: for its files; made.
        name: of the node.
        home: of the cluster.
        mapper_port: of its mapper.
        first: whom it joins; itself, of the first one.
    """

    def __init__(self, folder: Path, name: str, home: Path, mapper_port: int, first: str) -> None:
        folder.mkdir()
        settings = {
            "cluster_formation.peer_discovery_backend": "classic_config",
            "cluster_formation.classic_config.nodes.1": first,
            "cluster_partition_handling": "pause_minority",
            "disk_free_limit.absolute": DISK,
            "vm_memory_high_watermark.relative": MEMORY,
            "channel_max": "128",
        }
        super().__init__(folder, (), settings)
        self.name = name
        self._mapper = Program(["true"], folder / "mapper.log", os.environ)  # the cluster has one
        quiet = "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"  # schedulers that do not spin: the machine is shared
        self.environment |= {
            "HOME": str(home),
            "ERL_EPMD_PORT": str(mapper_port),
            "RABBITMQ_NODENAME": name,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{self.environment['RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS']} {quiet}",
        }
        self._home = home

    def evaluate(self, expression: str) -> str:
        """Have the node evaluate Erlang; what it gives, as text.

        Raises:
            OSError: it does not answer.
        """
        address = f"{LOOPBACK}:{self.environment['RABBITMQ_DIST_PORT']}"
        cookie = (self._home / ".erlang.cookie").read_text(encoding="utf-8").strip()
        command = [find("erl_call"), "-R", "-c", cookie, "-address", address, "-e"]
        try:
            answer = subprocess.run(  # noqa: S603 - the command is ours
                command,
                input=expression + "\n",
                capture_output=True,
                timeout=CALL_SECONDS,
                env=self.environment,
                text=True,
                check=True,
            )
        except subprocess.SubprocessError as error:
            raise OSError(f"{self.name} does not answer") from error
        if not answer.stdout.startswith("{ok, "):
            raise OSError(f"{self.name} says {answer.stdout.strip()}")
        return answer.stdout.strip().removeprefix("{ok, ").removesuffix("}")


class Cluster:
    """Some nodes.

    Args:
        folder: for their files; made.
        count: how many, one or three.
    """

    def __init__(self, folder: Path, count: int) -> None:
        folder.mkdir()
        port = free_port()
        mapper = [find("epmd"), "-address", LOOPBACK, "-port", str(port)]
        self._mapper = Program(mapper, folder / "epmd.log", os.environ)
        names = [f"faults{i}@localhost" for i in range(1, count + 1)]
        self.nodes = [Node(folder / name.partition("@")[0], name, folder, port, names[0]) for name in names]

    def start(self) -> None:
        """Found the cluster."""
        self._mapper.start()
        first, *others = self.nodes
        first.start()
        for node in others:
            node.start()

    def kill(self) -> None:
        """End everything without warning."""
        for node in self.nodes:
            node.kill()
        self._mapper.kill()

    def restart(self, nodes: Sequence[Node]) -> None:
        """Start nodes that have ended, at the same time: one that ended first may wait for one that ended later."""
        for node in nodes:
            Program.start(node)
        for node in nodes:
            node.await_answer()

    def leader(self, queue: str) -> Node:
        """The node that leads a quorum queue."""
        name = f'rabbit_misc:r(<<"/">>, queue, <<"{queue}">>)'
        question = f"{{ok, Q}} = rabbit_amqqueue:lookup({name}), {{_, Node}} = amqqueue:get_pid(Q), Node."
        for node in self.nodes:
            with suppress(OSError):
                said = node.evaluate(question)
                return next((each for each in self.nodes if each.name in said), node)
        raise OSError("no node answers")

    def waiting(self, queue: str) -> int:
        """Letters of a queue, those handed out included."""
        question = f'{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{queue}">>)), '
        question += "[{messages, M}] = rabbit_amqqueue:info(Q, [messages]), M."
        for node in self.nodes:
            with suppress(OSError, ValueError):
                return int(node.evaluate(question))
        raise OSError("no node answers")

    def short_of_memory(self, short: bool) -> None:
        """`rabbitmqctl set_vm_memory_high_watermark`, on every node."""
        limit = "{absolute, 1}" if short else MEMORY
        self._everywhere(f"vm_memory_monitor:set_vm_memory_high_watermark({limit}).")

    def short_of_disk(self, short: bool) -> None:
        """`rabbitmqctl set_disk_free_limit`, on every node."""
        self._everywhere(f"rabbit_disk_monitor:set_disk_free_limit({'1' + 15 * '0' if short else DISK}).")

    def bound(self, queue: str, length: int | None) -> None:
        """`rabbitmqctl set_policy`: a queue takes no more than so many letters, or what it was declared for."""
        pattern, definition = f'<<"^{queue}$">>', f'[{{<<"max-length">>, {length}}}]'
        setting = f'rabbit_policy:set(<<"/">>, <<"{FULL}">>, {pattern}, {definition}, 0, <<"queues">>, <<"operator">>).'
        self.nodes[0].evaluate(setting if length else f'rabbit_policy:delete(<<"/">>, <<"{FULL}">>, <<"operator">>).')

    def isolate(self, node: Node, alone: bool) -> None:
        """Cut a node off from the others: each end of a link insists on another cookie, so that none comes about."""
        others = [other.name for other in self.nodes if other is not node]
        cookie = "elsewhere" if alone else (node._home / ".erlang.cookie").read_text(encoding="utf-8").strip()  # noqa: SLF001
        parts = (f"erlang:set_cookie('{other}', '{cookie}')" for other in others)
        ends = (f"erlang:disconnect_node('{other}')" for other in others) if alone else ()
        node.evaluate(", ".join((*parts, *ends)) + ".")

    def _everywhere(self, expression: str) -> None:
        for node in self.nodes:
            node.evaluate(expression)
