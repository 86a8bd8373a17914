"""Runs the networks of a bundle on films: engine, devices, Grad-CAM, and fused CPU graphs."""
