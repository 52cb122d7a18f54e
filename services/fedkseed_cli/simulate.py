"""Subcommand that runs a whole federation in this process."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from fedkseed import federation as settings
from fedkseed.ram import Memory


@click.command()
@click.argument("federation", type=click.Path(path_type=Path), metavar="FEDERATION.TOML")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Where the run's files go.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    help="What to compute in; by default bfloat16 where the device multiplies it natively, else float32.",
)
@click.option("--device", help="What to compute on, such as cpu or cuda:1; by default a GPU, where one can be used.")
@click.option(
    "--memory",
    type=click.Choice(["auto", "resident", "streaming"]),
    default="auto",
    help="Whether working weights are kept in memory, or each only while it is used; by default kept where there is room.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON instead of a table.")
def simulate(federation: Path, out: Path, dtype: str | None, device: str | None, memory: Memory, as_json: bool) -> None:
    """Run a whole federation in this process: real model, real data, virtual time.

    Leaves ledger.safetensors (the fine-tuned model beside its base), metrics.jsonl and report.html in DIR.
    """
    loaded = settings.load(federation)
    from fedkseed import llm
    from fedkseed_cli.display import Display, results_table
    from fedkseed_simulator.run import run

    with Display(loaded, quiet=as_json) as display:
        report = run(loaded, out, display.show, llm.dtype_named(dtype), device=device, memory=memory)
    if as_json:
        click.echo(json.dumps(asdict(report), indent=1))
    else:
        results_table(report, out)
