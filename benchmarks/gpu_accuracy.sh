#!/bin/bash
# Trainings of docs/results.md on one lent GPU, part by part, each within its own minutes:
#
#     python benchmarks/pack_data.py ../shared/data --out .carry --limit-mib 33 --quality 75    # here, before
#     bash benchmarks/gpu_accuracy.sh .carry "$OUT" FOLDER_OF_WHEELS PART...                    # there
#
# Parts: members and derm_members (weights to be averaged, going on from $START, nine minutes), folds (PH2 in five folds,
# three minutes), recipes and variation (short experiments, nine minutes each; variation needs data packed with
# --crops 1874), taught (larger networks teach, nine minutes), comparison and longer (other networks and ablations from
# random values with seed $SEED, nine minutes each).
# Rows come as OUT/*.jsonl; weights as OUT/PART.tar.*, to be put together (`cat OUT/members.tar.* | tar x`) and averaged
# here by `benchmarks/soup.py --greedy`. On two GPUs, start it twice, each with its CUDA_VISIBLE_DEVICES.
set -u
data=$1 out=$2 wheels=$3
shift 3
export PYTHONUNBUFFERED=1 PYTHONPATH=.:/tmp/site
python3 -m pip install -q --no-index --no-deps --target /tmp/site "$wheels"/*.whl

keeping() { # PART SCRIPT WORDS...: a script that trains, whose weights come back in pieces
  local part=$1 script=$2 kept
  shift 2
  kept=$(mktemp -d)
  timeout 555 python3 "benchmarks/$script" --data "$data" --workers 10 --out "$out/experiments.jsonl" --keep "$kept" "$@"
  tar c -C "$kept" . | split -b 15M - "$out/$part.tar."
}

members() {
  keeping members experiments.py --seeds 6 7 8 --minutes 2.1 --until 8.7 \
    --set "start_from=${START:-dermomamba-isic2018}" -- member
}

derm_members() {
  keeping derm_members experiments.py --seeds 6 7 --minutes 2.1 --until 8.7 \
    --set "start_from=${START:-dermomamba-derm}" -- derm_further derm_overlap
}

recipes() {
  keeping recipes experiments.py --minutes 1.0 --until 9.0 continued surface weighed certain published large_batch
}

folds() {
  timeout 180 python3 benchmarks/ph2_folds.py --data "$data" --minutes 0.3 --start dermomamba-derm \
    --out "$out/experiments.jsonl"
}

variation() {
  keeping variation experiments.py --seeds 9 --minutes 1.9 --until 8.7 -- crops member_light member_bare member
}

taught() {
  keeping taught distil.py --teachers 3 --teacher-minutes 0.7 --minutes 3.0 member
}

comparison() {
  timeout 560 python3 benchmarks/compare.py --data "$data" --epochs 8 --batch 64 --timing-seconds 0.6 \
    --seeds "${SEED:-1}" --out "$out/comparison.jsonl"
}

longer() {
  timeout 560 python3 benchmarks/compare.py --data "$data" --epochs 30 --batch 64 --timing-seconds 0.6 \
    --seeds "${SEED:-1}" --out "$out/comparison.jsonl" --networks ResNet34-UNet DermoMamba SegFormer-B0 "U-Net 31 M"
}

for part in "$@"; do
  "$part" >"$out/$part.log" 2>&1
  grep -hE "DONE|FAILED|Traceback|Error|not started|fold|ph2_" "$out/$part.log" | cut -c1-300
done
