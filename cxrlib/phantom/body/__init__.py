"""The body of a phantom: its anatomy, and the attenuation of tissue, bones, vessels, devices and infection."""
