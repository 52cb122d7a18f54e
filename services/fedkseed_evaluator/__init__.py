"""The evaluator: follows rounds, scores versions on held-out examples, publishes the scores."""
