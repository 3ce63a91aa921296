"""Write the vectors of torch_network with torch itself: a small network, rows, and what torch says of them.

Run with a Python that has torch 2.13.0, numpy and safetensors 0.8.0; Parley has none but numpy:

    python tests/vectors/exchange_torch_network.py
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

FOLDER = Path(__file__).with_name("torch_network")
LAYERS = ["linear 3 8", "relu", "linear 8 4", "relu", "linear 4 1", "sigmoid"]


def main() -> None:
    torch.manual_seed(7)
    torch.set_num_threads(1)
    model = nn.Sequential(
        nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 1), nn.Sigmoid()
    )
    rows = torch.rand(200, 3) * 4 - 2
    labels = (rows[:, :1] * rows[:, 1:2] > rows[:, 2:] - 0.5).float()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02, weight_decay=0.01)
    for _ in range(80):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy(model(rows), labels).backward()
        optimizer.step()
    save_file(model.state_dict(), FOLDER / "network.safetensors")
    shown = rows[:25]
    with torch.no_grad():
        said = {
            "torch": torch.__version__,
            "layers": LAYERS,
            "rows": shown.tolist(),
            "logits": model[:-1](shown)[:, 0].tolist(),
            "scores": model(shown)[:, 0].tolist(),
        }
    (FOLDER / "scores.json").write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()
