OP_NAMES: list[str]
