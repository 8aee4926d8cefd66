#!/usr/bin/env bash
# sbatch [OPTIONS] tools/slurm_requeue.sh CONFIG WORK_DIR [ARGS of train.py]
# A job that goes on by itself after its time limit. OPTIONS are --ntasks,
# --gres, --time and so on. Run it from the clone.
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
#SBATCH --open-mode=append

CONFIG=$1
WORK_DIR=$2
limit=0
cancelled=0
# srun sends on to all of its processes what it receives. Slurm signals this
# script alone before the limit. TERM is for jobs that are to end: what was
# preempted Slurm requeues itself.
trap 'limit=1; kill -USR1 "$step" 2>/dev/null' USR1
trap 'cancelled=1; kill -TERM "$step" 2>/dev/null' TERM

PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" srun --kill-on-bad-exit=1 \
    python -u tools/train.py "$CONFIG" --work-dir="$WORK_DIR" \
    --launcher=slurm --requeue "${@:3}" &
step=$!
# What came before there was a step to send it on to.
[ "$limit" -eq 1 ] && kill -USR1 "$step" 2>/dev/null
[ "$cancelled" -eq 1 ] && kill -TERM "$step" 2>/dev/null
wait "$step"
code=$?
# A signal ends the first wait, not the step.
while kill -0 "$step" 2>/dev/null; do
    wait "$step"
    code=$?
done

requeue=0
if [ "$limit" -eq 1 ]; then
    # Asked to stop, or killed by srun since another one had stopped. What is
    # done, or has failed, is not started again. 138: USR1 itself, before it
    # was waited for.
    case $code in 75 | 137 | 138 | 143) requeue=1 ;; esac
elif [ "$code" -eq 75 ] && [ "$cancelled" -eq 0 ]; then
    # Its processes were signalled themselves, by scancel as well, which has
    # changed the state of the job by then.
    [ "$(squeue -h -j "$SLURM_JOB_ID" -o %T)" = RUNNING ] && requeue=1
fi
if [ "$requeue" -eq 1 ]; then
    exec scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
