"""Calls side by side: each has a thread the moment it begins, also where the system gives no more threads."""

import resource
import subprocess
import sys
import textwrap
from threading import Barrier, Event, get_ident

from worker.runtime.call_threads import CallThreads


def test_so_many_calls_as_are_allowed_are_made_at_the_same_time() -> None:
    calls = CallThreads(3, name="call")
    together = Barrier(4)
    for _ in range(3):
        calls.begin(together.wait)
    assert calls.free() == 0
    together.wait(10)
    calls.finish()
    assert calls.free() == 3


def test_whoever_asks_for_a_place_waits_until_one_is_free() -> None:
    calls = CallThreads(1, name="call")
    go_on = Event()
    calls.begin(go_on.wait)
    assert calls.free(wait_seconds=0.01) == 0
    go_on.set()
    assert calls.free(wait_seconds=10) == 1


def test_whoever_asks_for_several_places_waits_for_them_but_not_for_more_than_there_ever_are() -> None:
    calls = CallThreads(2, name="call")
    first, second = Event(), Event()
    calls.begin(first.wait)
    calls.begin(second.wait)
    first.set()
    assert calls.free(at_least=1, wait_seconds=10) == 1
    assert calls.free(at_least=5, wait_seconds=0.01) == 1
    second.set()
    assert calls.free(at_least=5, wait_seconds=10) == 2


def test_threads_are_kept_for_the_calls_to_come() -> None:
    calls = CallThreads(2, name="call")
    threads: set[int] = set()
    for _ in range(20):
        calls.begin(lambda: threads.add(get_ident()))
        calls.finish()
    assert len(threads) == 1


def test_a_call_for_which_there_is_no_thread_is_made_by_whoever_begins_it() -> None:
    # In a process of its own: the memory for the stacks of its threads is limited, as a container limits their number.
    program = textwrap.dedent("""
        import logging, resource, sys
        from threading import Event, get_ident
        from worker.runtime.call_threads import CallThreads
        logging.basicConfig(stream=sys.stdout, format="%(message)s")
        in_use = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (in_use + 100 * 2**20, -1))
        calls, callers, go_on, here = CallThreads(1000, name="call-otp"), [], Event(), get_ident()
        def call():
            if get_ident() != here:
                go_on.wait()
            callers.append(get_ident())
        for n in range(1, 1001):
            calls.begin(call)
            if here in callers:
                break
        print("begun", n, "free", calls.free())
        go_on.set()
        calls.finish()
        print("made", len(callers), "free", calls.free() == n - 1)
    """)
    stack_bytes = resource.getrlimit(resource.RLIMIT_STACK)[0]
    assert stack_bytes == -1 or stack_bytes >= 2**20
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    begun = int(output.split("begun ")[1].split()[0])
    assert 1 < begun < 1000
    assert "call-otp: can't start new thread" in output
    assert f"at most {begun - 1} calls at a time" in output
    assert f"begun {begun} free 0" in output
    assert f"made {begun} free True" in output
