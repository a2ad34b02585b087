"""Pages that are alive: the real world beside the dream under the same keys, and what broke as a gallery."""
