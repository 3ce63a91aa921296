"""Coverage-guided fuzzing of every parser of outside bytes, with atheris; see `make fuzz`.

    python tests/fuzz/fuzz_parsers.py SECONDS [PARSER ...]

Each named parser (all, if none is) gets a process of its own for its share of the time, and begins from its
valid samples. A fault is any exception that the parser does not promise, a value that is written otherwise
than it was read, or one input that takes ten seconds; its input is kept in build/fuzz and exit code is 1.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOUND = ROOT / "build" / "fuzz"
_INPUT_TIMEOUT_S = 10
_LONGEST = 16_384


def campaign(seconds: int, wanted: list[str]) -> int:
    """Fuzz each parser in turn; return 1 if any has a fault."""
    from ledger.testing.parsers import parsers

    names = wanted or [parser.name for parser in parsers()]
    each = max(1, seconds // len(names))
    FOUND.mkdir(parents=True, exist_ok=True)
    faults = 0
    for name in names:
        command = [sys.executable, "-P", __file__, "--one", name, str(each)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
        runs = re.findall(r"stat::number_of_executed_units:\s+(\d+)", done.stderr)
        faults += done.returncode != 0 or not runs
        if done.returncode or not runs:
            say(f"FAULT {name}\n{done.stdout}{done.stderr}")
        else:
            say(f"ok    {name}: {runs[0]} inputs in {each} s")
    return int(faults > 0)


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def one(name: str, seconds: int) -> None:
    """Fuzz one parser in this process; atheris ends it."""
    import atheris

    with atheris.instrument_imports(include=["ledger"]):
        from ledger.testing.parsers import parsers

    parser = next(found for found in parsers() if found.name == name)
    corpus = tempfile.mkdtemp(prefix="parley-fuzz.")
    for sample in parser.samples:
        (Path(corpus) / hashlib.sha256(sample).hexdigest()).write_bytes(sample)
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={_INPUT_TIMEOUT_S}",
        f"-max_len={_LONGEST}",
        f"-artifact_prefix={FOUND}/{name.replace(' ', '-').replace(':', '-')}-",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    atheris.Setup([sys.argv[0], *options, corpus], parser.check)
    atheris.Fuzz()


def main(arguments: list[str]) -> int:
    """Run what the command line asks for."""
    if arguments[:1] == ["--one"]:
        one(arguments[1], int(arguments[2]))
        return 0
    return campaign(int(arguments[0]) if arguments else 60, arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
