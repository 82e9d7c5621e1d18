MUTANTS: tuple[str, ...]
