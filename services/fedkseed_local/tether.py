"""Become another program that ends with the process that started it: `python tether.py PID PROGRAM [ARGUMENT ...]`.

Linux only. PID is the parent's; when the thread that started this process ends, however it ends, the program is sent SIGTERM.
This is a script of its own, and imports next to nothing, because what asks the kernel for it must be the child itself.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2); stays across execve(2)


def main(parent: int, command: list[str]) -> None:
    """Take the place of this process, unless the parent has ended already."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() == parent:
        os.execvp(command[0], command)  # noqa: S606 - without a shell is right


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
