"""Runs the networks of a bundle on films: engines (OpenVINO, torch), devices, precision, Grad-CAM."""
