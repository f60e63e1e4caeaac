"""The pages of the run page, in the order of its menu."""

from musabi.watch.page.compare import COMPARE
from musabi.watch.page.dataset import DATASET
from musabi.watch.page.endpoint import ENDPOINT
from musabi.watch.page.pod import POD
from musabi.watch.page.run import RUN
from musabi.watch.page.runs import RUNS
from musabi.watch.page.train import TRAIN
from musabi.watch.page.view import View

VIEWS: tuple[View, ...] = (POD, DATASET, TRAIN, RUNS, ENDPOINT, RUN, COMPARE)
