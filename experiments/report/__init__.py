"""The page that a run ends with: ``showcase`` finds what to show, ``page`` writes it, of ``tables`` and ``figures``."""
