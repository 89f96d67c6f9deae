"""Patients prepared side by side in one process, as `glioflow predict-cohort` does."""

from __future__ import annotations

import subprocess
import sys
import threading

import SimpleITK as sitk

from components.preprocess.registration.resampling import one_thread

SHARED = """
from concurrent.futures import ThreadPoolExecutor
from components.preprocess.registration.resampling import coarse
from components.preprocess.registration.template import load_template

def look(_):
    return [coarse(load_template().brain, 8.0) for _ in range(12)]

with ThreadPoolExecutor(3) as pool:
    list(pool.map(look, range(3)))
"""


def test_threads_do_not_share_the_template() -> None:
    """With one image for all, a filter of one thread moved its buffer under the others."""
    done = subprocess.run([sys.executable, "-c", SHARED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_limit_to_one_thread_ends_with_the_last_inside() -> None:
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(3)
    entered, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with one_thread():
            entered.set()
            leave.wait(10)

    other = threading.Thread(target=stay)
    try:
        with one_thread():
            other.start()
            assert entered.wait(10)
        assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == 1
        leave.set()
        other.join()
        assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == 3
    finally:
        leave.set()
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
