# Sourced by quickstart.sh and run_tests.sh: a Python with what they need.
#
# With no environment active, .venv is made with the pinned releases. In an
# active one only what is missing is installed, nothing there is replaced.
# $more names further files of requirements.
if [ -z "${VIRTUAL_ENV:-}" ] && [ -z "${CONDA_PREFIX:-}" ]; then
    if [ ! -x .venv/bin/python ]; then
        for candidate in python3 python3.12 python3.11; do
            if "$candidate" -c 'import sys
sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
                echo "Making .venv with $("$candidate" --version)"
                "$candidate" -m venv .venv
                break
            fi
        done
    fi
    if [ ! -x .venv/bin/python ]; then
        echo "Python 3.11 or 3.12 is needed and was not found." >&2
        exit 1
    fi
    . .venv/bin/activate
fi

# Requirements that are not met yet, and the releases that must stay.
mkdir -p work_dirs
python - requirements/pinned.txt requirements/mmcv.txt ${more:-} <<'EOF'
import sys
from importlib import metadata


def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


missing, present = [], []
for path in sys.argv[1:]:
    for line in open(path):
        line = line.split('#')[0].strip()
        if not line:
            continue
        name = line.split('==')[0]
        found = version(name)
        if name == 'mmcv-lite' and version('mmcv'):
            continue
        if found:
            present.append(f'{name}=={found}\n')
        else:
            missing.append(f'{line}\n')
with open('work_dirs/missing.txt', 'w') as file:
    file.writelines(missing)
with open('work_dirs/present.txt', 'w') as file:
    file.writelines(present)
EOF
if [ -s work_dirs/missing.txt ]; then
    echo "Installing (torch is large: a minute or more)"
    python -m pip install --disable-pip-version-check -q \
        -r work_dirs/missing.txt -c work_dirs/present.txt
fi
rm -f work_dirs/missing.txt work_dirs/present.txt
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
