#!/usr/bin/env bash
# sbatch [OPTIONS] tools/slurm_requeue.sh CONFIG WORK_DIR [ARGS of train.py]
# A job that goes on by itself after its time limit, or when it was preempted.
# OPTIONS are --ntasks, --gres, --time and so on. Run it from the clone.
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
#SBATCH --open-mode=append

CONFIG=$1
WORK_DIR=$2
asked=0
# srun sends on to all of its processes what it receives.
trap 'asked=1; kill -USR1 "$step" 2>/dev/null' USR1 TERM

PYTHONPATH="$PWD":$PYTHONPATH srun --kill-on-bad-exit=1 \
    python -u tools/train.py "$CONFIG" --work-dir="$WORK_DIR" \
    --launcher=slurm --requeue "${@:3}" &
step=$!
wait "$step"
code=$?
# A signal ends the first wait, not the step.
while kill -0 "$step" 2>/dev/null; do
    wait "$step"
    code=$?
done

if [ "$code" -eq 75 ] || { [ "$asked" -eq 1 ] && [ "$code" -ne 0 ]; }; then
    exec scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
