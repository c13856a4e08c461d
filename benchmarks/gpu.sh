#!/bin/sh
# Everything about speed that needs a GPU, on the first one, in under 10 minutes:
#     sh benchmarks/gpu.sh [FOLDER]
# A part that fails or takes too long does not stop the others; what each printed lies in FOLDER (default: speed).
# Images are made here, but for benchmark_mode, which takes CIFAR-10 where it lies in data/ and the digits elsewhere.
out=${1:-speed}
mkdir -p "$out"
cd "$(dirname "$0")/.." || exit 1
case $out in /*) ;; *) out=$OLDPWD/$out ;; esac

part() {  # name, limit in seconds, command
    name=$1 limit=$2
    shift 2
    echo "== $name: $*"
    timeout "$limit" "$@" >"$out/$name.md" 2>"$out/$name.log" || echo "   failed ($?): see $out/$name.log"
    cat "$out/$name.md"
}

part gpu_tests 60 python -m pytest -q tests/benchmarks -k gpu
part limit_bf16 130 python benchmarks/limit.py --precision bf16 --depths 20 32 44 56 110 1202 --rounds 1
part limit_tf32 30 python benchmarks/limit.py --precision tf32 --depths 20 --rounds 2
part peers_bf16 130 python benchmarks/against_peers.py --device cuda --precision bf16 --depths 20 56 110 1202 --rounds 2
part peers_tf32 40 python benchmarks/against_peers.py --device cuda --precision tf32 --depths 20 --rounds 2 --no-overhead

packing="python benchmarks/packing.py --device cuda --precision bf16 --processes 1 4 --steps 2000 --rounds 1"
part packing 50 $packing
if command -v nvidia-cuda-mps-control >/dev/null; then
    CUDA_MPS_PIPE_DIRECTORY=$(mktemp -d) CUDA_MPS_LOG_DIRECTORY=$out
    export CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
    nvidia-cuda-mps-control -d
    part packing_mps 50 $packing
    echo quit | nvidia-cuda-mps-control
    unset CUDA_MPS_PIPE_DIRECTORY
fi

data=digits
[ -d data/cifar-10-batches-py ] && data=cifar10
part benchmark_mode 40 python run.py mode=benchmark "data=$data" trainer.precision=bf16 logger=none "runs=$out/runs"
part compiled_bf16 60 python benchmarks/limit.py --compiled --precision bf16 --depths 20 --rounds 2
