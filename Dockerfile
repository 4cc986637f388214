# The command in an image, for `deploy/refit-cronjob.yaml`:
#
#     docker build --tag pomona:0.1.0 .
#
# and the archive for EMR's nodes, made on the Linux that they run:
#
#     docker build --target environment --output . .
# The digest is that of the index of all platforms, as docker-library/repo-info records it in repos/amazonlinux/remote/.
# dnf installs the packages of this release of Amazon Linux. For newer ones, put in tag and digest of
#     docker buildx imagetools inspect amazonlinux:2023
FROM amazonlinux:2023.12.20260831.0@sha256:74c545e3e04db388b00bd31d7cc5640d4e9c12058a6d72af938d113da3c82893 AS installed
# The distribution signs its packages; those of Python are pinned by hash.
# hadolint ignore=DL3041
RUN dnf install -y python3.11 python3.11-pip gzip tar && dnf clean all
WORKDIR /pomona
COPY requirements.lock ./
RUN python3.11 -m venv .venv \
    && .venv/bin/python -m pip install --no-cache-dir --require-hashes -r requirements.lock
COPY LICENSE README.md pyproject.toml ./
COPY batch_pca batch_pca
COPY bootstrap bootstrap
COPY pomona pomona
COPY streaming streaming
RUN .venv/bin/python -m pip install --no-cache-dir --no-deps --no-build-isolation .

FROM installed AS packed
RUN .venv/bin/python -c "import pathlib, bootstrap.environment.archive as e; e.build_environment(pathlib.Path('/environment.tar.gz'))"

FROM scratch AS environment
COPY --from=packed /environment.tar.gz /

FROM installed AS command
# Jars and the class data sharing archive, so that a container fetches nothing.
ENV XDG_CACHE_HOME=/var/cache
RUN .venv/bin/python -m streaming.ingest.warmup && useradd --uid 10001 --create-home pomona \
    && chown -R pomona /var/cache/pomona
USER 10001
WORKDIR /home/pomona
ENTRYPOINT ["/pomona/.venv/bin/pomona"]
CMD ["--help"]
