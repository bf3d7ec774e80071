"""Sound itself: microphones, capture, files, spectra.

Knows neither Celery nor configuration files. Nothing here is loaded until it is
imported by name.
"""
