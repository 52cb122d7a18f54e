"""Child processes: what becomes of their command, and that they do not outlive who started them."""

import os
import subprocess
import sys
from pathlib import Path

from fedkseed_local import tether
from fedkseed_local.program import Program
from tests.processes import PATIENCE_SECONDS, until

STARTS = """
import os, signal, sys
from pathlib import Path
from fedkseed_local.program import Program
program = Program(["sleep", "3600"], Path(sys.argv[1]), os.environ)
program.start()
while Path(f"/proc/{program.pid}/comm").read_text() != "sleep\\n":
    assert not program.ended(0.01)
print(program.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended may still be listed, as a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_program_has_its_arguments_its_environment_and_its_exit_code(tmp_path):
    program = Program(["sh", "-c", 'echo "$0 $SAID"; exit 3', "a b"], tmp_path / "log", os.environ | {"SAID": "hello"})
    program.start()
    assert program.ended(PATIENCE_SECONDS)
    assert (program.code, program.last_words()) == (3, "a b hello")


def test_a_program_ends_with_a_parent_that_is_killed(tmp_path):
    killed = subprocess.run([sys.executable, "-c", STARTS, str(tmp_path / "log")], capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    until(lambda: not lives(int(killed.stdout)))


def test_a_program_whose_parent_has_ended_is_not_begun(tmp_path):
    somebody_else = str(os.getppid())
    begun = subprocess.run([sys.executable, tether.__file__, somebody_else, "touch", str(tmp_path / "begun")], check=False)
    assert begun.returncode == 0
    assert list(tmp_path.iterdir()) == []
