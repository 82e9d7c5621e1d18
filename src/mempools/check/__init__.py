"""What drives the core through the hooks of L0, to test it. Beside the layers: nothing in the core imports it."""
