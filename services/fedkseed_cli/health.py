"""Subcommand that asks a service whether it is ready."""

import os

import click

from fedkseed import endpoint, settings


@click.command()
def health() -> None:
    """Ask the service at FEDKSEED_METRICS_LISTEN whether it is ready; what is missing, and code 1, where it is not.

    For containers that have no other way to ask.
    """
    endpoint.ask(settings.read(settings.HealthSettings, os.environ).metrics_listen)
    click.echo("ready")
