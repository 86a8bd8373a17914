"""All that imports Beam: the graph, its thin transforms, the runners it is given to, and their workers."""

import logging as _logging


def _import_beam() -> None:
    """Import Beam without the notice that a Google client is not installed, which nothing here uses.

    Beam gives it through the root logger, which would also set up handlers that the application did not ask for.
    """
    root, silent = _logging.getLogger(), _logging.NullHandler()
    level = root.level
    root.addHandler(silent)
    root.setLevel(_logging.ERROR)
    try:
        import apache_beam  # noqa: F401, PLC0415
    finally:
        root.setLevel(level)
        root.removeHandler(silent)


_import_beam()
