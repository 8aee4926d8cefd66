# Copyright (c) csd_mmrazor developers. All rights reserved.
import json
from pathlib import Path
from typing import Dict


def read_scalars(work_dir: Path) -> Dict[str, Dict[int, float]]:
    """What a run logged to MMEngine's local backend.

    Args:
        work_dir (Path): Of the run; of its attempts, the later counts.

    Returns:
        dict[str, dict[int, float]]: Values by tag and step.
    """
    found: Dict[str, Dict[int, float]] = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            try:
                values = json.loads(line)
            except ValueError:  # cut short when it was killed
                continue
            for tag, value in values.items():
                found.setdefault(tag, {})[values.get('step')] = value
    return found
