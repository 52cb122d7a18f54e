"""examples/deal.py: each client's file has what `fedkseed simulate` would give to it."""

import subprocess
import sys

from fedkseed import data, federation
from tests.embedded import TOY, described, write_toml
from tests.pages import ROOT


def test_every_client_gets_its_share(tmp_path, tiny_base):
    toml = write_toml(tmp_path / "federation.toml", described(tiny_base, tmp_path, TOY))
    command = [sys.executable, ROOT / "examples" / "deal.py", toml, "--out", tmp_path / "dealt"]
    for _ in range(2):
        subprocess.run(command, check=True, capture_output=True)
    dealt = {path.stem: data.read(path) for path in (tmp_path / "dealt").iterdir()}
    assert dealt == data.partition(TOY, federation.load(toml).data.partition)
