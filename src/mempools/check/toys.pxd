# Nothing for other modules: the scenarios register themselves.
