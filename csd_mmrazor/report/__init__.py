# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The report of a run: one page of what its work dir holds.

A page is written by :func:`write_report` from files alone, of a run that is
done, under way, killed, or of an earlier release; it needs neither the run's
networks nor its data:

.. code-block:: python

    from csd_mmrazor.report import write_report

    write_report(['runs/a'])                      # to runs/a/report.html
    write_report(['runs/a', 'runs/b'], 'ab.html')  # side by side

``ReportHook`` calls it after each epoch and adds what no other file of the
work dir has: ``report.json``, see :mod:`.measurements`. On the command line
it is ``tools/report.py``, whose arguments ``csd_mmrazor.cli.report`` adds to
any parser: ``add_arguments(parser)`` and ``report(args)``.
"""

from .advice import advise
from .bank_images import chosen_images
from .measurements import Measurements, read_measurements, write_measurements
from .page import write_report
from .run_files import RunFiles, read_run

__all__ = [
    'Measurements',
    'RunFiles',
    'advise',
    'chosen_images',
    'read_measurements',
    'read_run',
    'write_measurements',
    'write_report',
]
