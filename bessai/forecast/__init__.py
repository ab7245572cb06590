"""Price forecasts that know when they were known."""

from bessai.forecast.local import LocalForecast
from bessai.forecast.seasonal import SeasonalModel, load_price_model

__all__ = ["LocalForecast", "SeasonalModel", "load_price_model"]
