"""The body of a phantom: anatomy, bones, tissue, vessels, devices and infection."""
