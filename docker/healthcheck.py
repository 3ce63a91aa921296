"""Exit with 0 if the process in this container answers on its own page: ``healthcheck.py PORT``."""

import http.client
import ssl
import sys


def main() -> int:
    """Ask ``/healthz`` on the loopback interface."""
    # Not a connection to a peer: it asks its own container, so there is no certificate to check.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", int(sys.argv[1]), timeout=4, context=context)
    try:
        connection.request("GET", "/healthz")
        return 0 if connection.getresponse().status == http.client.OK else 1
    except OSError:
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
