#!/usr/bin/env bash
# All tests, with their own set-up:  bash tools/run_tests.sh [PYTEST_ARGS]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
more=requirements/tests.txt
source tools/environment.sh
ruff check .
ruff format --check .
python -m pytest "$@"
