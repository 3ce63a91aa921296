"""Version 1 of the party protocol: ``party.proto`` and the stubs that ``scripts/proto.py`` makes from it."""

__all__: list[str] = []
