# edgecell in a container.
#   docker build -t edgecell .                          CPU
#   docker build -t edgecell --build-arg DEVICE=gpu .   with CUDA; run it with --gpus all
#   docker run --rm -v "$PWD:/work" edgecell demo
#   docker run --rm -v "$PWD:/work" -e EDGECELL_DETERMINISTIC=1 edgecell train --data …
# EDGECELL_DETERMINISTIC=1 is the strict mode: trainings run as with --deterministic, bit for bit
# repeatable on the same kind of processor, and slower.
FROM python:3.11-slim

ARG DEVICE=cpu
ENV PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PYTHONHASHSEED=0

WORKDIR /opt/edgecell
COPY constraints.txt setup.cfg pyproject.toml README.md LICENSE ./
COPY edgecell edgecell
COPY converters converters
COPY benchmarks benchmarks
RUN set -e; \
    case "$DEVICE" in \
        cpu) extra="" ;; \
        gpu) extra="[gpu]" ;; \
        *) echo "DEVICE is '$DEVICE'; allowed: cpu, gpu" >&2; exit 2 ;; \
    esac; \
    pip install --constraint constraints.txt ".$extra"; \
    pip install --constraint constraints.txt --no-deps medmnist

# A container's runs belong to its user's mounted folder, and nothing in it needs root.
RUN useradd --create-home edgecell
USER edgecell
WORKDIR /work
ENTRYPOINT ["edgecell"]
CMD ["--help"]
