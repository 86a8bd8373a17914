"""Everything that imports Beam: the graph, its transforms, its runners and their workers.

Beam is imported here first, without the handler of the root logger that it would leave behind: where only a part of
Google's clients is installed, it logs a warning about the others, and nothing here uses them.
"""

import logging as _logging

_root, _silent, _level = _logging.getLogger(), _logging.NullHandler(), _logging.getLogger().level
_root.addHandler(_silent)  # `logging.warning` installs a handler if there is none
_root.setLevel(_logging.ERROR)
try:
    import apache_beam as _apache_beam  # noqa: F401
finally:
    _root.setLevel(_level)
    _root.removeHandler(_silent)
