"""The internal portal of a company on Google Workspace and HubSpot, with a live production checklist."""

from importlib.metadata import version

__version__ = version("muster")
