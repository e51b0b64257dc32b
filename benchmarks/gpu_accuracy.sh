#!/bin/bash
# The open part of docs/results.md in one call of about nine minutes on two GPUs, or longer on one:
#
#     python benchmarks/pack_data.py ../shared/data --out .carry --limit-mib 33 --quality 75    # here, before
#     bash benchmarks/gpu_accuracy.sh .carry "$OUT" [FOLDER_OF_WHEELS]             # there
#
# First GPU: members of an average for dermomamba-isic2018 and for dermomamba-derm, both averages chosen greedily on
# validation data; only the chosen averages are kept, as OUT/w/. Second GPU (or after that, if there is one): the six
# rows that the comparison lacks, and PH2 in five folds. The rows come as OUT/*.jsonl, for docs/ by hand.
set -u
data=$1 out=$2 wheels=${3:-}
export PYTHONUNBUFFERED=1 PYTHONPATH=.:/tmp/site
[ -n "$wheels" ] && python3 -m pip install -q --no-index --no-deps --target /tmp/site "$wheels"/*.whl
members=$(mktemp -d)
gpus=$(python3 -c 'import torch; print(torch.cuda.device_count())')

averages() {
  local run="python3 benchmarks/experiments.py --data $data --workers 10 --keep $members --out $out/experiments.jsonl"
  local mean="python3 benchmarks/soup.py --data $data --save $out/w --out $out/experiments.jsonl"
  timeout 365 $run --seeds 3 4 5 --minutes 1.3 member
  timeout 50 $mean dermomamba-isic2018 "$members"/member-*.safetensors --greedy isic2018_validation \
    --name dermomamba-isic2018-mean --description "Trained on the training part of the paper's split of ISIC 2018 only."
  timeout 105 $run --seeds 4 --minutes 1.2 derm_member
  timeout 40 $mean dermomamba-derm "$members"/derm_member-*.safetensors \
    --greedy isic2018_validation ham10000_validation \
    --name dermomamba-derm-mean --description "Trained on ISIC 2018 Task 1 and HAM10000."
}

comparison() {
  timeout 110 python3 benchmarks/ph2_folds.py --data "$data" --minutes 0.2 --start dermomamba-derm \
    --out "$out/experiments.jsonl"
  timeout 440 python3 benchmarks/compare.py --data "$data" --epochs 8 --batch 64 --timing-seconds 0.6 \
    --out "$out/comparison.jsonl" --networks "without CSMB" "without CBAM" "without SweepMamba" \
    "without Guide Fusion" "UNet++" "Attention U-Net"
}

if [ "$gpus" -gt 1 ]; then
  CUDA_VISIBLE_DEVICES=0 averages >"$out/averages.log" 2>&1 &
  CUDA_VISIBLE_DEVICES=1 comparison >"$out/comparison.log" 2>&1 &
  wait
else
  averages >"$out/averages.log" 2>&1
  comparison >"$out/comparison.log" 2>&1
fi
grep -hE "DONE|FAILED|Traceback|Error|chosen|left out|average,|fold|ph2_" "$out"/*.log | cut -c1-300
