"""Versions of models: folders with a card, verified by hash, one of them the champion."""

from bessai.modelstore.card import DataUsed, ModelCard
from bessai.modelstore.store import ModelStore

__all__ = ["DataUsed", "ModelCard", "ModelStore"]
