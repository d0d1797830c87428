"""The one error of a measurement."""


class MeasurementFailed(Exception):
    """It could not be made, or what was measured is not what was meant; one line says which."""
