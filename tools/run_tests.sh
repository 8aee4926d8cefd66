#!/usr/bin/env bash
# All tests, with their own set-up:  bash tools/run_tests.sh [PYTEST_ARGS]
# Most of them, in three minutes:    bash tools/run_tests.sh --fast
# Without arguments, on a CPU with AVX-512, those that compare bits run once
# more with the kernels of AVX2 (memory_format.py), and the documentation is
# built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
more="requirements/tests.txt requirements/docs.txt"
source tools/environment.sh
# Dozens of processes import it, which may write no bytecode by themselves.
python -m compileall -q csd_mmrazor
ruff check .
ruff format --check .
# Tests fork, which CUDA does not bear; see CONTRIBUTING.md for those of a GPU.
export CUDA_VISIBLE_DEVICES=
# As many tests at a time as there are processors, of one thread each.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
workers=$(python -c 'import os; print(min(4, len(os.sched_getaffinity(0))))')
pytest=(python -m pytest -n "$workers" --dist worksteal --durations=40)
if [ "${1:-}" = --fast ]; then
    python -m mypy
    exec "${pytest[@]}" -m "not slow and not dist and not kill" "${@:2}"
fi
if [ $# -gt 0 ]; then
    python -m mypy
    exec python -m pytest "$@"
fi

out=$(mktemp -d)
# What an earlier build left goes now: tests look through docs/.
rm -rf docs/api

with_avx2() {
    if [ "$(python -c 'import torch as t; print(t.backends.cpu.get_cpu_capability())')" != AVX512 ]; then
        echo "not run again, since this CPU has no AVX-512"
        return
    fi
    # What compares bits, and how images lie in memory. That runs which were
    # killed go on is no matter of kernels.
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 \
        python -m pytest --durations=40 \
        tests/test_models/test_algorithms \
        tests/test_models/test_utils/test_memory_format.py \
        tests/test_engine/test_{rehearsal,synthesis_hook}.py \
        tests/test_engine/test_synthesis \
        tests/test_cli/test_distributed.py \
        -k "(test_algorithms or memory or same or one_process or resum \
            or no_pass or kept_maps) \
            and not (avx2_alone or refused or resumed_with_it)"
}

# note NAME COMMAND: what it says, and how it ends.
note() {
    local end=passed
    "${@:2}" &> "$out/$1" || end=FAILED
    echo $end > "$out/$1.end"
}

# Beside the tests, of which some wait for processes. The site's own theme
# takes longer than all else, for a list of all pages on each of them;
# test_docs.py has it.
set -m
{
    note types python -m mypy
    note docs python -W ignore -m sphinx -W --keep-going -q \
        -D html_theme=basic docs work_dirs/docs_plain
    note avx2 with_avx2
} &
beside=$!
set +m
trap 'kill -- -$beside &> /dev/null || true; rm -rf "$out"' EXIT
failed=0
"${pytest[@]}" | tee "$out/all" || failed=1
wait "$beside" || failed=1
for name in types docs avx2; do
    cat "$out/$name"
    grep -qx passed "$out/$name.end" || failed=1
done
echo "Types:          $(cat "$out/types.end")"
echo "Documentation:  $(cat "$out/docs.end")"
echo "All tests:      $(tail -n 1 "$out/all")"
echo "With AVX2 only: $(tail -n 1 "$out/avx2")"
exit $failed
