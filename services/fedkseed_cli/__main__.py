"""The command itself: its subcommands, and how their failures end.

Every foreseen failure is one line on standard error and the exit code of its kind (`docs/exit-codes.md`). Modules that
need torch are imported by the subcommands that use them, so that `fedkseed --help` is quick and the base install works.
"""

import os
import sys

import click

from fedkseed.errors import FedkseedError
from fedkseed_cli.access import access
from fedkseed_cli.aggregator import aggregator
from fedkseed_cli.client import client
from fedkseed_cli.dead import dead
from fedkseed_cli.doctor import doctor
from fedkseed_cli.evaluator import evaluator
from fedkseed_cli.forget import forget
from fedkseed_cli.founding import init
from fedkseed_cli.health import health
from fedkseed_cli.history import log, snapshot
from fedkseed_cli.ledgers import export, show, verify
from fedkseed_cli.operate import close, pause, resume, rollback
from fedkseed_cli.policy import policy
from fedkseed_cli.quarantine import quarantine
from fedkseed_cli.simulate import simulate
from fedkseed_cli.status import status
from fedkseed_cli.support import support
from fedkseed_cli.up import up

INTERRUPTED = 130
NOT_INSTALLED = 3


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="fedkseed")
def fedkseed() -> None:
    """Fine-tune all weights of a language model over many machines whose data stays where it is.

    Clients measure scalar gradients along shared random directions and send only those; the model is a pure function of
    its base and a ledger of K integers. Begin with `fedkseed simulate examples/sentiment.toml --out runs/first`.
    """


fedkseed.add_command(simulate)
fedkseed.add_command(up)
fedkseed.add_command(export)
fedkseed.add_command(verify)
fedkseed.add_command(show)
fedkseed.add_command(support)
fedkseed.add_command(aggregator)
fedkseed.add_command(client)
fedkseed.add_command(evaluator)
fedkseed.add_command(health)
fedkseed.add_command(init)
fedkseed.add_command(doctor)
fedkseed.add_command(status)
fedkseed.add_command(log)
fedkseed.add_command(snapshot)
fedkseed.add_command(pause)
fedkseed.add_command(resume)
fedkseed.add_command(close)
fedkseed.add_command(rollback)
fedkseed.add_command(forget)
fedkseed.add_command(policy)
fedkseed.add_command(quarantine)
fedkseed.add_command(dead)
fedkseed.add_command(access)


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
