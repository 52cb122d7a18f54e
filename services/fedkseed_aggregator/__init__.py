"""The aggregator: decides updates, closes rounds, announces versions. Imports no torch."""
