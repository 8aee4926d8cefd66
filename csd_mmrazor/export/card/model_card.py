# Copyright (c) csd_mmrazor developers. All rights reserved.
from pathlib import Path
from typing import Any, Dict, Optional

from mmengine.config import Config

from ...datasets import BankFolder
from .figures import results_of, told_of
from .files import files_of
from .images_used import REVEALS, real_images, real_reveals
from .layout import card_text, intro_of, tags_of
from .networks import (
    method_of,
    network_name,
    student_of,
    teacher_lines,
    teachers_of,
)
from .quality import Quality


def model_card(
    cfg: Config,
    weights: Path,
    description: Dict[str, Any],
    quality: Quality = None,
    teacher_license: Optional[str] = None,
    files: Optional[str] = None,
    bank: Optional[BankFolder] = None,
) -> str:
    """The card of an exported network, Markdown with YAML before it.

    Args:
        cfg (Config): Of the run.
        weights (Path): The file of the weights.
        description (dict): What is in the JSON file beside it.
        quality (MeasuredAccuracy | Agreement, optional): Defaults to None, not
            known.
        teacher_license (str, optional): What the teacher may be used under.
            Defaults to None, not known.
        files (str, optional): What there is, as of :func:`files_of`. Defaults
            to None, weights in both forms.
        bank (BankFolder, optional): As of :func:`real_images`.
    """
    used = real_images(cfg, bank)
    teachers = teachers_of(cfg)
    return card_text(
        weights,
        intro_of(network_name(student_of(cfg)), description),
        dict(library_name='pytorch'),
        tags_of(bool(teachers), not used),
        results=results_of(quality, bank),
        accuracy=told_of(quality, bank),
        facts=[
            *teacher_lines(teachers),
            *method_of(cfg),
            *(
                ['- The weights are a running mean over the last steps']
                if description.get('running_mean')
                else []
            ),
            f'- Real images in training: {"; ".join(used) or "none"}',
        ],
        has_teacher=bool(teachers),
        teacher_license=teacher_license,
        reveals=' '.join([REVEALS, *real_reveals(used, bank)]),
        files=files or files_of(weights, description),
    )
