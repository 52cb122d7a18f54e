"""The client: follows rounds, trains on its own examples, publishes what it measured."""
