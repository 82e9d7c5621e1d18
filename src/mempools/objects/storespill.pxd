# Nothing of this module is visible from other modules.
