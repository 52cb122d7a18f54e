"""The command itself: its subcommands, and how their failures end.

Every foreseen failure is one line on standard error and the exit code of its kind (`docs/exit-codes.md`). Modules that
need torch are imported by the subcommands that use them, so that `fedkseed --help` is quick and the base install works.
"""

import os
import sys
from importlib import import_module

import click

from fedkseed.errors import FedkseedError

INTERRUPTED = 130
NOT_INSTALLED = 3
SUBCOMMANDS = {  # by name: the module that has it
    "access": "access",
    "aggregator": "aggregator",
    "client": "client",
    "close": "operate",
    "dead": "dead",
    "doctor": "doctor",
    "evaluator": "evaluator",
    "export": "ledgers",
    "forget": "forget",
    "health": "health",
    "init": "founding",
    "log": "history",
    "pause": "operate",
    "policy": "policy",
    "quarantine": "quarantine",
    "resume": "operate",
    "rollback": "operate",
    "show": "ledgers",
    "simulate": "simulate",
    "snapshot": "history",
    "status": "status",
    "support": "support",
    "up": "up",
    "verify": "ledgers",
}


class Subcommands(click.Group):
    """Imports a subcommand when it is asked for: nothing waits for the libraries of the others."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """Their names."""
        return list(SUBCOMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """The one of that name."""
        if name not in SUBCOMMANDS:
            return None
        command: click.Command = getattr(import_module(f"fedkseed_cli.{SUBCOMMANDS[name]}"), name)
        return command


@click.group(cls=Subcommands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="fedkseed")
def fedkseed() -> None:
    """Fine-tune all weights of a language model over many machines whose data stays where it is.

    Clients measure scalar gradients along shared random directions and send only those; the model is a pure function of
    its base and a ledger of K integers. Begin with `fedkseed simulate examples/sentiment.toml --out runs/first`.
    """


def main() -> None:
    """Run the command and turn its failures into one line and an exit code."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # our own display says how far we are
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # what its warnings are about is an error here, or nothing
    try:
        fedkseed.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(INTERRUPTED)
    except FedkseedError as error:
        click.echo(f"fedkseed: {error}", err=True)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        click.echo(f"fedkseed: {error.name} is not installed: pip install 'fedkseed[simulate]'", err=True)
        sys.exit(NOT_INSTALLED)


if __name__ == "__main__":
    main()
