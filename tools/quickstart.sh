#!/usr/bin/env bash
# CSD in minutes on a CPU:  bash tools/quickstart.sh [SEED]
#
# Trains a teacher on scikit-learn's digits, then a student 16 times smaller
# without any real image, and prints how well both read digits that the
# teacher has not seen.
set -euo pipefail
usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
case ${1:-0} in
-h | --help) usage && exit ;;
*[!0-9]*) usage >&2 && exit 2 ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seed=${1:-0}
source tools/environment.sh

work=work_dirs/quickstart/$(date +%Y%m%d_%H%M%S)_seed$seed
start=$SECONDS
python -W ignore tools/train.py configs/teachers/resnet-onecycle_digits.py \
    --work-dir "$work/teacher" --cfg-options randomness.seed="$seed"
python -W ignore tools/train.py configs/csd/csd_fast_quickstart_digits.py \
    --work-dir "$work/student" --cfg-options randomness.seed="$seed" \
    model.teachers.teacher.ckpt_path="$work/teacher/epoch_10.pth"
python tools/quickstart_summary.py "$work" "$seed" $((SECONDS - start))
