"""Tests for `streaming.delta.commit_lock`.

Of two processes that commit to a folder's table, the second waits for the first.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from streaming.delta.commit_lock import commit_lock

IN_TURN = """
import sys
from streaming.delta.commit_lock import commit_lock
with commit_lock(sys.argv[1]):
    print("mine", flush=True)
    sys.stdin.read(1)
    print("done", flush=True)
"""


def test_the_second_waits_for_the_end_of_the_first_or_for_its_death(tmp_path: Path) -> None:
    table = f"file:{tmp_path}/My lake/refits"
    for killed in (False, True):
        command = [sys.executable, "-c", IN_TURN, table]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as first:
            assert first.stdin
            assert first.stdout
            assert first.stdout.readline() == "mine\n"
            took = threading.Event()

            def wait(took: threading.Event = took) -> None:
                with commit_lock(table):
                    took.set()

            second = threading.Thread(target=wait)
            second.start()
            assert not took.wait(0.3)
            if killed:
                first.kill()
            else:
                first.stdin.write("x")
                first.stdin.flush()
                assert first.stdout.readline() == "done\n"
            assert took.wait(30)
            second.join()


def test_objects_need_no_turns() -> None:
    with commit_lock("s3a://no-such-bucket/lake/refits"):
        pass
    with pytest.raises(FileNotFoundError), commit_lock("file:/proc/none/lake/refits"):
        pass
