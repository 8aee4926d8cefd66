#!/usr/bin/env bash
# What docs/results.md asks of a GPU, in commands of less than ten minutes:
#   until bash tools/gpu_study.sh; do [ $? = 124 ] || break; done
#
# Trains WRN-40-2 on CIFAR-10, makes the runs of
# docs/results/cifar10_resnet56_gpu.yml and times the steps of both pairs. It
# ends with status 124 after LIMIT seconds, and goes on from there when it is
# called again. What is done is not made again. DEVICE, LIST and OUT may be
# set, and OPTIONS to what the runs of the list take by --cfg-options, such as
# OPTIONS='val_dataloader.dataset.data_root=FOLDER'. Arguments are options of
# the teacher's config.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
limit=${LIMIT:-590} out=${OUT:-work_dirs/gpu}
teacher=work_dirs/wrn40-2_cifar10

within_limit() {
    local left=$((limit - SECONDS))
    ((left > 0)) || exit 124
    timeout "$left" "$@"
}

if [ ! -e "$teacher/epoch_200.pth" ]; then
    within_limit python tools/train.py configs/teachers/wrn40-2_cifar10.py \
        --amp --resume --work-dir "$teacher" ${1:+--cfg-options "$@"}
fi
within_limit python tools/compare.py \
    "${LIST:-docs/results/cifar10_resnet56_gpu.yml}" \
    --out "$out" --work-dir "$out" ${OPTIONS:+--cfg-options $OPTIONS}
for pair in resnet56_resnet20 wrn40-2_wrn16-1; do
    if [ ! -e "${out}_$pair.json" ]; then
        within_limit python tools/benchmark.py \
            "configs/csd/csd_${pair}_cifar10.py" \
            --device "${DEVICE:-cuda}" --out "${out}_$pair.json"
    fi
done
