"""The pages of the run page, in the order of its menu."""

from musabi.watch.page.dataset import DATASET
from musabi.watch.page.view import View

VIEWS: tuple[View, ...] = (DATASET,)
