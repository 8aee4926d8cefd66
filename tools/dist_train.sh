#!/usr/bin/env bash
# tools/dist_train.sh CONFIG GPUS [ARGS of tools/train.py]
# Several nodes: NNODES, NODE_RANK, MASTER_ADDR, PORT. With NNODES=MIN:MAX,
# nodes may come and go: the same command on each, with MASTER_ADDR for one of
# them, RDZV_ID, MAX_RESTARTS, and no NODE_RANK. Without GPUs the processes run
# on the CPU.
usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
case ${1:-} in -h | --help) usage && exit ;; esac
(($# >= 2)) || { usage >&2 && exit 2; }
CONFIG=$1
GPUS=$2
NNODES=${NNODES:-1}
NODE_RANK=${NODE_RANK:-0}
PORT=${PORT:-29500}
MASTER_ADDR=${MASTER_ADDR:-"127.0.0.1"}
MAX_RESTARTS=${MAX_RESTARTS:-10}
RDZV_ID=${RDZV_ID:-csd_mmrazor}

if [[ $NNODES == *:* ]]; then
    # Not the old store, which has what lost processes left and may be lost.
    export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
    # Whoever joins or starts again continues what is in the work dir.
    HOW=(--rdzv_backend=c10d --rdzv_endpoint="$MASTER_ADDR:$PORT"
        --rdzv_id="$RDZV_ID" --max_restarts="$MAX_RESTARTS")
    RESUME=(--resume)
else
    HOW=(--node_rank="$NODE_RANK" --master_addr="$MASTER_ADDR"
        --master_port="$PORT")
    RESUME=()
fi

PYTHONPATH="$(dirname "$0")/..${PYTHONPATH:+:$PYTHONPATH}" \
exec python "$(dirname "$0")/launch.py" \
    --nnodes="$NNODES" \
    "${HOW[@]}" \
    --nproc_per_node="$GPUS" \
    "$(dirname "$0")/train.py" \
    "$CONFIG" \
    --launcher pytorch "${RESUME[@]}" "${@:3}"
