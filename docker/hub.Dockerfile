# The hub. Build from the repository's root: docker build -f docker/hub.Dockerfile -t parley-hub .
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN python -m venv /opt/parley \
    && /opt/parley/bin/pip install --no-cache-dir --constraint constraints.txt ".[nats,postgresql]"

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --create-home --home-dir /home/parley --shell /usr/sbin/nologin parley \
    && install -d -o parley -g parley -m 0700 /data \
    && install -d -o parley -g parley -m 0755 /papers
COPY --from=build /opt/parley /opt/parley
COPY docker/hub-entrypoint docker/healthcheck.py /opt/parley/bin/
ENV PATH=/opt/parley/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 MPLCONFIGDIR=/tmp/matplotlib
USER 10001:10001
WORKDIR /home/parley
VOLUME ["/data", "/papers"]
# 7443: members, mutual TLS. 8443: the operator's page; publish it on the operator's own machine only.
EXPOSE 7443 8443
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s CMD ["python", "/opt/parley/bin/healthcheck.py", "8443"]
ENTRYPOINT ["/opt/parley/bin/hub-entrypoint"]
