"""Generate the Python stubs of every .proto file; with --check, fail if the committed ones differ."""

from __future__ import annotations

import importlib.resources
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = sorted(ROOT.glob("exchange/rpc/*/*.proto"))
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")
HEADER = b"# mypy: ignore-errors\n"  # the generators leave type arguments out


def generate(into: Path) -> list[Path]:
    """Write the stubs below ``into`` and return their paths relative to it."""
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    names = [str(proto.relative_to(ROOT)) for proto in PROTOS]
    outputs = [f"--{kind}={into}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    if protoc.main(["protoc", f"-I{ROOT}", f"-I{well_known}", *outputs, *names]) != 0:
        raise SystemExit(1)
    stems = [proto.relative_to(ROOT).with_suffix("") for proto in PROTOS]
    return [stem.with_name(stem.name + suffix) for stem in stems for suffix in SUFFIXES]


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as directory:
        made = {path: HEADER + (Path(directory) / path).read_bytes() for path in generate(Path(directory))}
    differing = [
        path
        for path, text in made.items()
        if not (ROOT / path).is_file() or (ROOT / path).read_bytes() != text
    ]
    if arguments == ["--check"]:
        for path in differing:
            print(f"{path} differs from its .proto file: run scripts/proto.py", file=sys.stderr)
        return 1 if differing else 0
    for path in differing:
        (ROOT / path).write_bytes(made[path])
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
