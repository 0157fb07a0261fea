"""The release of MMS whose contract this package keeps; 0.4's is kept beside it."""

__version__ = "1.1.11"
