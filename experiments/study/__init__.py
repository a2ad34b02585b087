"""Arms and seeds beside each other: what a study does (``grid``), measures (``measure``) and tells (``results``).

In the order of a study: ``grid`` takes one step after another; ``measure`` meets every arm with the clips that all
are measured on, ``acted`` with what its policy does on its own; ``sets`` reads what they kept, ``results``
compares it over seeds, ``tables`` and ``plots`` show that.
"""
