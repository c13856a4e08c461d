#!/bin/sh
# Everything about speed that needs a GPU, on the first one, in under 10 minutes:
#     sh benchmarks/gpu.sh [FOLDER]
# A part that fails or takes too long does not stop the others; what each printed lies in FOLDER (default: speed).
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

part gpu_tests 90 python -m pytest -q tests/benchmarks -k gpu
part limit_bf16 120 python benchmarks/limit.py --precision bf16 --depths 20 110 --rounds 2
part limit_tf32 80 python benchmarks/limit.py --precision tf32 --depths 20 --rounds 2
part peers_bf16 130 python benchmarks/against_peers.py --device cuda --precision bf16 --depths 20 56 110 1202 --rounds 2
part peers_tf32 60 python benchmarks/against_peers.py --device cuda --precision tf32 --depths 20 --rounds 2 --no-overhead
part packing 60 python benchmarks/packing.py --device cuda --precision bf16 --processes 1 4 --steps 2000 --rounds 1
part benchmark_mode 60 python run.py mode=benchmark trainer.precision=bf16 logger=none "runs=$out/runs"
