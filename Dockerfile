# One image, every role: docker build -t staffetta . && docker run staffetta --help
# It runs as user 10001, needs no writable root file system (a /tmp, and /var/lib/staffetta for who makes the keyring), and holds no compiler.
ARG PYTHON=python:3.13-slim-trixie

FROM ${PYTHON} AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements.lock /build/
# Wheels by their hashes; dkimpy alone comes as source, and is plain Python.
RUN python -m venv /opt/staffetta/venv \
    && /opt/staffetta/venv/bin/pip install --require-hashes --only-binary=:all: --no-binary=dkimpy -r /build/requirements.lock \
    && /opt/staffetta/venv/bin/pip uninstall -y pip

FROM ${PYTHON}
# tini is process 1: it passes signals on and buries orphans, which Python does not. Debian's present version of it is the right one.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin staffetta \
    && install -d -o staffetta -g staffetta -m 0700 /var/lib/staffetta
COPY --from=packages /opt/staffetta/venv /opt/staffetta/venv
COPY app /opt/staffetta/code/app
COPY migrations /opt/staffetta/code/migrations
COPY alembic.ini pyproject.toml LICENSE /opt/staffetta/code/
COPY --chmod=0755 deploy/staffetta /usr/local/bin/staffetta
RUN /opt/staffetta/venv/bin/python -m compileall -q /opt/staffetta/code
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 STAFFETTA_KEYRING_PATH=/var/lib/staffetta/keyring.json STAFFETTA_API_HOST=0.0.0.0 STAFFETTA_SUBMISSION_HOST=0.0.0.0
WORKDIR /var/lib/staffetta
VOLUME /var/lib/staffetta
EXPOSE 8025 587 465 2525
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 CMD ["staffetta", "alive"]
ENTRYPOINT ["tini", "--", "staffetta"]
CMD ["serve"]
