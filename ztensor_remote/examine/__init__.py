"""What is in files: their content digest, how two differ, the statistics of a tensor."""

from .content import content_id
from .difference import Difference, diff
from .statistics import Statistics, statistics

__all__ = ["Difference", "Statistics", "content_id", "diff", "statistics"]
