"""Compiled loops also run where nothing compiled can be kept."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LOOPS = {
    "mpc.replicated.compiled": "a = np.arange(4, dtype=np.uint64); m.product_terms(a, a, a, a, a)",
    "mpc.mersenne61_loops": "assert m._add(np.uint64(2**61 - 2), np.uint64(3)) == 2",
    "mpc.pir.kernels": "assert m._rotl32(np.uint32(1), np.uint32(5)) == 32",
    "exchange.jobs.keyed_hash_loops": "assert callable(m.hash_all)",
}


@pytest.mark.parametrize("module", LOOPS)
def test_loops_run_where_nothing_can_be_kept(module: str) -> None:
    program = f"import numpy as np, {module} as m; {LOOPS[module]}; print('ran')"
    # This place is for packages in archives, so none of ours has one.
    environment = os.environ | {"NUMBA_CACHE_LOCATOR_CLASSES": "ZipCacheLocator", "PYTHONWARNINGS": ""}
    command = [sys.executable, "-P", "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout == "ran\n", done.stderr
