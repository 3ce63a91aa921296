"""What every HTTP interface shares: server, problem details, request fields, OpenAPI, status page.

It knows neither hub nor node. It trusts the TLS layer for who the caller is (``parley.peer`` in the WSGI
environment) and nothing that the caller sends. The parts are imported from their modules.
"""

__all__: list[str] = []
