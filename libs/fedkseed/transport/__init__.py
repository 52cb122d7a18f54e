"""The transport: which exchanges and queues there are, the port to a broker, and the adapters behind it."""
