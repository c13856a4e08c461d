#!/bin/sh
# At home: fills the ignored folder .gpu with what a machine with a GPU and no network needs beside this repository.
#     sh benchmarks/gpu/pack.sh [IMAGES ...]
# That is wheels for Python 3.12 on Linux, and the images of CIFAR-10, given as the folder cifar-10-batches-py, as the
# archive cifar-10-python.tar.gz, or as files of any other form with a script unpack*.py, which is called with the
# folder in which it has to make cifar-10-batches-py.
set -eu
LIMIT=60  # MiB
kit=$(cd "$(dirname "$0")/../.." && pwd)/.gpu
mkdir -p "$kit/wheels" "$kit/images"
for images; do cp -R "$images" "$kit/images/"; done
cd "$kit/.."
python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    --platform manylinux_2_28_x86_64 -c constraints.txt -d .gpu/wheels hydra-core omegaconf submitit
python3 -m pip wheel -q --no-deps -w .gpu/wheels antlr4-python3-runtime==4.9.3  # pure Python, published as source
size=$(du -sm .gpu | cut -f1)
echo ".gpu: $size MiB"
[ "$size" -le $LIMIT ] || { echo "error: .gpu holds more than $LIMIT MiB; give the images in a smaller form" >&2; exit 1; }
