"""anew delivers software by replacement: version and replace, never update what runs."""

__version__ = "0.1.0"
