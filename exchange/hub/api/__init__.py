"""The hub's views, one module per resource: parse, call one service, render."""

__all__: list[str] = []
