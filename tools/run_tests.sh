#!/usr/bin/env bash
# All tests, with their own set-up:  bash tools/run_tests.sh [PYTEST_ARGS]
# Most of them, in three minutes:    bash tools/run_tests.sh --fast
# Without arguments, on a CPU with AVX-512, those that compare bits run once
# more with the kernels of AVX2 (memory_format.py).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
more="requirements/tests.txt requirements/docs.txt"
source tools/environment.sh
ruff check .
ruff format --check .
python -m mypy
# As many tests at a time as there are processors, of one thread each.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
workers=$(python -c 'import os; print(min(4, len(os.sched_getaffinity(0))))')
pytest=(python -m pytest -n "$workers" --dist worksteal --durations=40)
if [ "${1:-}" = --fast ]; then
    exec "${pytest[@]}" -m "not slow and not dist and not kill" "${@:2}"
fi
if [ $# -gt 0 ]; then
    exec python -m pytest "$@"
fi
python -W ignore -m sphinx -W --keep-going -q docs work_dirs/docs

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
failed=0
"${pytest[@]}" | tee "$out/all" || failed=1
capability=$(python -c 'import torch as t; print(t.backends.cpu.get_cpu_capability())')
if [ "$capability" = AVX512 ]; then
    # What compares bits, after a kill as well, and how images lie in memory.
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 "${pytest[@]}" \
        tests/test_models/test_algorithms \
        tests/test_models/test_utils/test_memory_format.py \
        tests/test_engine/test_{rehearsal,synthesis_hook}.py \
        tests/test_engine/test_synthesis \
        tests/test_cli/test_{distributed,kills}.py \
        -k "(test_algorithms or memory or same or one_process or resum \
            or killed or no_pass or kept_maps) and not avx2_alone" \
        | tee "$out/avx2" || failed=1
else
    echo "not run again, since this CPU has no AVX-512" > "$out/avx2"
fi
echo "All tests:      $(tail -n 1 "$out/all")"
echo "With AVX2 only: $(tail -n 1 "$out/avx2")"
exit $failed
