"""diffusion-pipe's lines as events."""

import math

from musabi.engines.diffusion_pipe.parser import Course, Parser


def step(number: int, loss: str = "0.1000") -> str:
    return f"steps: {number} loss: {loss} iter time (s): 2.000 samples/sec: 2.000\n"


def test_a_step_is_an_event_with_counts_loss_and_the_time_that_is_left() -> None:
    parser = Parser(Course(epochs=10, steps_per_epoch=4))
    (event,) = parser.feed(step(3))
    assert (event.phase, event.step, event.steps, event.epoch, event.epochs) == ("train", 3, 40, 1, 10)
    assert (event.loss, event.s_per_step, event.eta_s) == (0.1, 2.0, 74.0)


def test_lines_may_come_in_any_pieces_and_behind_a_bar() -> None:
    parser = Parser(Course(epochs=1, steps_per_epoch=4))
    text = "  3%|#   | 1/4 [00:01]\r" + step(1) + step(2)
    events = [event for piece in text for event in parser.feed(piece)]
    assert [event.step for event in events] == [1, 2]


def test_the_first_epoch_that_ends_tells_how_many_steps_there_are() -> None:
    parser = Parser(Course(epochs=5, steps_per_epoch=99))
    parser.feed(step(1) + step(2) + step(3) + "Started new epoch: 2\n")
    (event,) = parser.feed(step(4))
    assert (event.steps, event.epoch) == (15, 2)


def test_a_resumed_training_counts_on() -> None:
    parser = Parser(Course(epochs=5, steps_per_epoch=10))
    parser.feed("Resuming training from checkpoint. Resuming at epoch: 3, step: 25\n")
    (event,) = parser.feed(step(25))
    assert (event.step, event.epoch, event.steps) == (25, 3, 50)


def test_the_loss_is_a_mean_over_an_epoch_and_says_at_once_that_it_is_no_number() -> None:
    parser = Parser(Course(epochs=5, steps_per_epoch=2))
    events = parser.feed(step(1, "0.1000") + step(2, "0.3000") + step(3, "nan") + step(4, "0.2000"))
    assert [event.loss for event in events[:2]] == [0.1, 0.2]
    assert events[2].loss is not None and math.isnan(events[2].loss)
    assert events[3].loss == 0.2


def test_training_counts_as_complete_only_when_the_trainer_says_so() -> None:
    parser = Parser(Course(epochs=2, steps_per_epoch=2))
    parser.feed(step(4) + "Manually quitting\n")
    assert not parser.course.complete
    parser.feed("TRAINING COMPLETE!\n")
    assert parser.course.complete and parser.course.epochs_done == 2


def test_epochs_are_counted_as_they_ended_where_the_number_of_steps_cut_the_training_short() -> None:
    parser = Parser(Course(epochs=100, steps_per_epoch=2, max_steps=5))
    parser.feed(step(2) + "Started new epoch: 2\n" + step(4) + "Started new epoch: 3\n" + step(5))
    parser.feed("Saving model to directory step5\nTRAINING COMPLETE!\n")
    assert parser.course.epochs_done == 2 and parser.course.steps == 5


def test_what_the_trainer_leaves_out_of_the_dataset_is_said() -> None:
    parser = Parser(Course(epochs=1, steps_per_epoch=1))
    (dropped,) = parser.feed(
        "[2026-09-01 10:00:00] [WARNING] size bucket (832, 480, 33) is being completely dropped because "
        "it doesn't have enough images\n"
    )
    assert dropped.message is not None and "(832, 480, 33)" in dropped.message
    (short,) = parser.feed("video with frames=12 is being skipped because it is too short\n")
    assert short.message is not None and "12 frames" in short.message
