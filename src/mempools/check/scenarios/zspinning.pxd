# Nothing of this module is visible from Python or from others.
