"""L2: what lies where in an arena, who takes part in it, and how a death is mended."""
