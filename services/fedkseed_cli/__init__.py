"""The command `fedkseed`: puts the parts together and talks to people."""
