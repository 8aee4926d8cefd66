#!/usr/bin/env bash
# All tests, with their own set-up:  bash tools/run_tests.sh [PYTEST_ARGS]
# Most of them, in three minutes:    bash tools/run_tests.sh --fast
# Without arguments, on a CPU with AVX-512, those that compare bits run once
# more with the kernels of AVX2 (memory_format.py).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
more="requirements/tests.txt requirements/docs.txt"
source tools/environment.sh
# Dozens of processes import the package, and both passes all tests.
export PYTHONDONTWRITEBYTECODE=
ruff check .
ruff format --check .
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
failed=0
# Types and documentation beside the tests, of which some wait for processes.
# What an earlier build left goes now: tests look through docs/.
rm -rf docs/api
trap 'kill $(jobs -pr) &> /dev/null || true; rm -rf "$out"' EXIT
python -m mypy &> "$out/types" &
types=$!
python -W ignore -m sphinx -W --keep-going -q docs work_dirs/docs \
    &> "$out/docs" &
docs=$!
"${pytest[@]}" | tee "$out/all" || failed=1
capability=$(python -c 'import torch as t; print(t.backends.cpu.get_cpu_capability())')
if [ "$capability" = AVX512 ]; then
    # What compares bits, and how images lie in memory. That runs which were
    # killed go on is no matter of kernels.
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 "${pytest[@]}" \
        tests/test_models/test_algorithms \
        tests/test_models/test_utils/test_memory_format.py \
        tests/test_engine/test_{rehearsal,synthesis_hook}.py \
        tests/test_engine/test_synthesis \
        tests/test_cli/test_distributed.py \
        -k "(test_algorithms or memory or same or one_process or resum \
            or no_pass or kept_maps) \
            and not (avx2_alone or refused or resumed_with_it)" \
        | tee "$out/avx2" || failed=1
else
    echo "not run again, since this CPU has no AVX-512" > "$out/avx2"
fi
said=(passed passed)
wait "$types" || { said[0]=FAILED failed=1; }
wait "$docs" || { said[1]=FAILED failed=1; }
cat "$out"/{types,docs}
echo "Types:          ${said[0]}"
echo "Documentation:  ${said[1]}"
echo "All tests:      $(tail -n 1 "$out/all")"
echo "With AVX2 only: $(tail -n 1 "$out/avx2")"
exit $failed
