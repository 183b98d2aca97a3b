"""Files of other formats, written as a stream: checked as a whole before the first byte."""

from .form import TARGETS, Target, form_of
from .streaming import export

__all__ = ["TARGETS", "Target", "export", "form_of"]
