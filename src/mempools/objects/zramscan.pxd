# Nothing of this module is visible from other compiled modules.
