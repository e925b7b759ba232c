"""Layers computed in the form that suits the device: convolutions, pools and sparse products."""
