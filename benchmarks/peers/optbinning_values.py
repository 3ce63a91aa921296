"""Information values by optbinning: ``python optbinning_values.py DATA.npz OPTIONS``; prints sum and seconds.

DATA has ``x``, float64[columns, rows], and ``y``, 0 and 1; OPTIONS are those of OptimalBinning, as JSON.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
from optbinning import OptimalBinning

data, options = np.load(sys.argv[1]), json.loads(sys.argv[2])
total, started = 0.0, time.perf_counter()
for column in data["x"]:
    binning = OptimalBinning(**options)
    binning.fit(column, data["y"])
    total += float(binning.binning_table.build()["IV"].iloc[-1])
print(json.dumps({"sum": total, "s": time.perf_counter() - started}))
