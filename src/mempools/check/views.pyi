RULES: dict[str, int]
