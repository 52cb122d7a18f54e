"""What a user of Redis may do with the ledger of one federation, as Redis's access control lists say it."""

COMMANDS = (  # that ledgers are read and written by, and no others; a test compares them with the modules beside
    *("get", "mget", "set", "del", "exists", "time"),
    *("hget", "hgetall", "hset", "hdel", "hincrby", "hlen", "xadd", "xrange"),
    *("watch", "unwatch", "multi", "exec"),
    *("ping", "select"),  # what connections begin with
)


def of_ledger(federation: str) -> str:
    """Rules for who reads and changes the ledger: its keys, the commands it needs, no channels."""
    return f"resetkeys ~{{{federation}}}:* resetchannels -@all {' '.join(f'+{command}' for command in COMMANDS)}"
