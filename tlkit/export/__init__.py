"""Export: a run's model as a file for other programs, with all that they need inside it.

``prepare()`` checks what is asked for, ``export_run()`` writes the files and compares each with the
run's Keras model on the test set.
"""

from tlkit.export.records import Exported, Figures
from tlkit.export.writing import Job, Settings, export_run, prepare

__all__ = ["Exported", "Figures", "Job", "Settings", "export_run", "prepare"]
