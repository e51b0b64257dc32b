#!/bin/bash
# docs/performance.md's GPU part in one call of about seven minutes: mamba_ssm and this network in the same run.
#
#     bash benchmarks/gpu_speed.sh SOURCE_OF_MAMBA_SSM "$OUT" [FOLDER_OF_WHEELS]
#
# SOURCE_OF_MAMBA_SSM is the registry's source package, unpacked, whose setup.py keeps only its sm_90 pair. The wheel is
# built first, then everything is timed on a quiet machine.
set -u
source=$1 out=$2 wheels=${3:-}
export PYTHONUNBUFFERED=1
[ -n "$wheels" ] && python3 -m pip install -q --no-index --no-deps --target /tmp/site "$wheels"/*.whl
build=$(mktemp -d)
cp -r "$source" "$build/source"
(cd "$build/source" && MAMBA_FORCE_BUILD=TRUE MAX_JOBS=16 TORCH_CUDA_ARCH_LIST=9.0 timeout 300 \
  python3 -m pip wheel --no-build-isolation --no-deps -w "$build" .) >"$build/log" 2>&1 || tail -5 "$build/log"
echo "built after $SECONDS s"
if ls "$build"/*.whl >/dev/null 2>&1; then
  python3 -m pip install -q --no-index --no-deps --target /tmp/site "$build"/*.whl
fi
PYTHONPATH=.:/tmp/site timeout 270 python3 benchmarks/gpu_session.py --out "$out/gpu.json" --minutes 3.5
