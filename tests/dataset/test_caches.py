"""Caches are made again when, and only when, what they were made from changed."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from musabi.dataset import caches, identity
from musabi.dataset.config import read_config
from musabi.dataset.gather import dataset_facts
from musabi.job.facts import CacheFacts, DatasetFacts
from musabi.job.model import Caching


class Trainer:
    """Does to a dataset what a caching step does: drops stale files, writes the stamp, makes the files."""

    def __init__(self, folder: Any, tensors: Callable[[Path], None]) -> None:
        self.folder, self.tensors = folder, tensors
        self.engine, self.caching, self.extra = "musubi", Caching(), ()
        self.options: dict[str, Any] = {}
        self.vae, self.text_encoder = (
            folder.root / "ae.safetensors",
            folder.root / "te-00001-of-00002.safetensors",
        )
        for name, letter in (("ae", b"a"), ("te-00001-of-00002", b"b"), ("te-00002-of-00002", b"c")):
            (folder.root / f"{name}.safetensors").write_bytes(letter * 2_000_000)

    def look(self, **more: Any) -> DatasetFacts:
        config = self.folder.config(**self.options)
        return dataset_facts(
            config,
            self.engine,
            self.caching,
            latent_weights=(self.vae,),
            text_weights=(self.text_encoder,),
            latent_arguments=self.extra,
            text_arguments=self.extra,
            **more,
        )

    def cache(self) -> None:
        facts = self.look()
        for kind in (facts.latents, facts.text):
            for path in kind.stale:
                path.unlink()
            for path, text in kind.stamp:
                path.write_text(text)
                for name in json.loads(text)["files"]:
                    if not (path.parent / name).exists():
                        self.tensors(path.parent / name)


@pytest.fixture
def trainer(folder: Any, tensors: Callable[[Path], None]) -> Trainer:
    folder.add("a.png", (64, 64))
    folder.add("b.jpg", (80, 40))
    return Trainer(folder, tensors)


def names(facts: CacheFacts) -> list[str]:
    return [path.name for path in facts.stale]


def test_before_caching_every_file_is_missing(trainer: Trainer) -> None:
    facts = trainer.look()
    for kind in (facts.latents, facts.text):
        assert (kind.expected, kind.missing, kind.stale, kind.fresh) == (2, 2, (), False)


def test_the_files_have_the_names_that_the_trainer_gives_them(trainer: Trainer) -> None:
    trainer.cache()
    assert sorted(path.name for path in trainer.folder.cache.glob("*.safetensors")) == [
        "a_0064x0064_zi.safetensors",
        "a_zi_te.safetensors",
        "b_0080x0040_zi.safetensors",
        "b_zi_te.safetensors",
    ]


def test_after_caching_all_is_fresh_and_a_second_look_changes_nothing(trainer: Trainer) -> None:
    trainer.cache()
    first, second = trainer.look(), trainer.look()
    assert first.latents.fresh
    assert first.text.fresh
    assert first == second


def test_a_caption_that_changed_is_cached_again(trainer: Trainer) -> None:
    trainer.cache()
    (trainer.folder.images / "a.txt").write_text("another caption")
    facts = trainer.look()
    assert facts.latents.fresh
    assert names(facts.text) == ["a_zi_te.safetensors"]


def test_space_around_a_caption_does_not_matter(trainer: Trainer) -> None:
    trainer.cache()
    caption = trainer.folder.images / "a.txt"
    caption.write_text(f"\n{caption.read_text()}  \n")
    assert trainer.look().text.fresh


def test_an_image_that_changed_at_the_same_size_is_cached_again(trainer: Trainer) -> None:
    trainer.cache()
    trainer.folder.add("a.png", (64, 64), color="red")
    facts = trainer.look()
    assert names(facts.latents) == ["a_0064x0064_zi.safetensors"]
    assert facts.text.fresh


def test_a_touched_image_with_the_same_bytes_stays_fresh(trainer: Trainer) -> None:
    trainer.cache()
    os.utime(trainer.folder.images / "a.png", (1, 1))
    assert trainer.look().latents.fresh


def test_another_resolution_makes_the_latents_stale_and_not_the_captions(trainer: Trainer) -> None:
    trainer.cache()
    trainer.options = {"resolution": 128}
    facts = trainer.look()
    assert len(facts.latents.stale) == 2
    assert facts.text.fresh


def test_no_upscale_makes_only_those_stale_whose_bucket_changed(trainer: Trainer) -> None:
    trainer.cache()
    trainer.options = {"bucket_no_upscale": True}
    assert names(trainer.look().latents) == ["b_0080x0040_zi.safetensors"]


def test_batch_size_and_repeats_change_no_cache(trainer: Trainer) -> None:
    trainer.cache()
    trainer.options = {"batch_size": 2, "num_repeats": 3}
    trainer.caching = Caching(latent_batch_size=4, text_device="cpu", text_workers=2)
    facts = trainer.look()
    assert facts.latents.fresh
    assert facts.text.fresh
    assert facts.batches_per_epoch == 4


def test_another_vae_of_the_same_size_makes_the_latents_stale(trainer: Trainer) -> None:
    trainer.cache()
    trainer.vae.write_bytes(b"z" * 2_000_000)
    facts = trainer.look()
    assert len(facts.latents.stale) == 2
    assert facts.text.fresh


def test_another_second_shard_of_the_text_encoder_makes_the_captions_stale(trainer: Trainer) -> None:
    trainer.cache()
    (trainer.folder.root / "te-00002-of-00002.safetensors").write_bytes(b"z" * 2_000_000)
    facts = trainer.look()
    assert facts.latents.fresh
    assert len(facts.text.stale) == 2


def test_models_that_were_copied_elsewhere_are_the_same_models(trainer: Trainer) -> None:
    trainer.cache()
    moved = trainer.vae.with_name("vae-copy.safetensors")
    moved.write_bytes(trainer.vae.read_bytes())
    trainer.vae = moved
    assert trainer.look().latents.fresh


def test_models_that_were_removed_after_caching_leave_the_caches_fresh(trainer: Trainer) -> None:
    trainer.cache()
    trainer.vae.unlink()
    (trainer.folder.root / "te-00002-of-00002.safetensors").unlink()
    facts = trainer.look()
    assert facts.latents.fresh
    assert facts.text.fresh


def test_another_engine_makes_all_stale(trainer: Trainer) -> None:
    trainer.cache()
    trainer.engine = "diffusers"
    facts = trainer.look()
    assert len(facts.latents.stale) + len(facts.text.stale) == 4


def test_fp8_makes_the_captions_stale_and_extra_arguments_all(trainer: Trainer) -> None:
    trainer.cache()
    trainer.caching = Caching(fp8_text_encoder=True)
    facts = trainer.look()
    assert facts.latents.fresh
    assert len(facts.text.stale) == 2
    trainer.extra = ("--some_option",)
    assert len(trainer.look().latents.stale) == 2


@pytest.mark.parametrize("eight_bits", [True, False])
def test_captions_of_either_precision_are_fresh_where_nobody_asked_for_one(
    trainer: Trainer, eight_bits: bool
) -> None:
    trainer.caching = Caching(fp8_text_encoder=eight_bits)
    trainer.cache()
    trainer.caching = Caching(fp8_text_encoder=not eight_bits)
    assert trainer.look(either_precision=True).text.fresh
    assert not trainer.look().text.fresh
    trainer.folder.add("c.png", (64, 64))
    assert trainer.look(either_precision=True).text.missing == 1


def test_arguments_that_only_change_how_fast_a_cache_is_made_make_nothing_stale(trainer: Trainer) -> None:
    trainer.cache()
    trainer.extra = ("--num_workers", "2", "--device=cpu", "--batch_size", "4")
    facts = trainer.look()
    assert facts.latents.fresh and facts.text.fresh
    trainer.extra = (*trainer.extra, "--some_option")
    assert not trainer.look().latents.fresh


def test_a_cut_off_cache_file_is_stale(trainer: Trainer) -> None:
    trainer.cache()
    file = trainer.folder.cache / "a_zi_te.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert names(trainer.look().text) == ["a_zi_te.safetensors"]


def test_a_missing_cache_file_is_missing_and_nothing_else(trainer: Trainer) -> None:
    trainer.cache()
    (trainer.folder.cache / "a_0064x0064_zi.safetensors").unlink()
    facts = trainer.look()
    assert (facts.latents.missing, facts.latents.stale, facts.latents.fresh) == (1, (), False)
    assert facts.text.fresh


def test_files_of_images_that_are_gone_are_stale(trainer: Trainer) -> None:
    """The trainer trains on every file that it finds."""
    trainer.cache()
    (trainer.folder.images / "b.jpg").unlink()
    facts = trainer.look()
    assert names(facts.latents) == ["b_0080x0040_zi.safetensors"]
    assert names(facts.text) == ["b_zi_te.safetensors"]


def test_files_of_other_architectures_are_left_alone(
    trainer: Trainer, tensors: Callable[[Path], None]
) -> None:
    trainer.cache()
    for name in ("b_0080x0040_qi.safetensors", "b_qi_te.safetensors", "notes_te.safetensors"):
        trainer.tensors(trainer.folder.cache / name)
    facts = trainer.look()
    assert facts.latents.fresh
    assert facts.text.fresh


def test_files_without_a_stamp_or_with_a_torn_one_are_not_believed(trainer: Trainer) -> None:
    trainer.cache()
    for text in (None, "{", "[]", '{"format": 1, "files": 3}'):
        stamp = trainer.folder.cache / ".musabi-text.json"
        stamp.unlink(missing_ok=True)
        if text is not None:
            stamp.write_text(text)
        assert len(trainer.look().text.stale) == 2


def test_a_kill_in_the_middle_of_caching_leaves_what_was_made_fresh(trainer: Trainer) -> None:
    """The stamp is written before the files, so the whole ones of a broken run count."""
    trainer.cache()
    trainer.options = {"resolution": 128}
    facts = trainer.look()
    for path in facts.latents.stale:
        path.unlink()
    for path, text in facts.latents.stamp:
        path.write_text(text)
    trainer.tensors(trainer.folder.cache / "a_0064x0064_zi.safetensors")
    again = trainer.look().latents
    assert (again.expected, again.missing, again.stale) == (2, 1, ())


def test_a_second_look_reads_no_image_again(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "SETTLED_NS", -10_000_000_000)
    first = trainer.look()

    def read(file: Path) -> str:
        raise AssertionError(f"{file} was read again")

    monkeypatch.setattr(caches, "content_hash", read)
    monkeypatch.setattr(identity, "sampled_hash", read)
    assert trainer.look() == first


def test_other_bytes_of_the_same_number_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "SETTLED_NS", -10_000_000_000)
    file = tmp_path / "image"
    seen = []
    for content in (b"one", b"two"):
        file.write_bytes(content)
        os.utime(file, (len(seen), len(seen)))
        memory = identity.Memory(tmp_path / "memory.json")
        seen.append(memory.recall(file, identity.content_hash))
        memory.keep()
    assert seen[0] != seen[1]


def test_a_file_that_has_just_been_written_is_not_remembered(trainer: Trainer) -> None:
    """Another write within the clock's grain would not show in its times."""
    for path in trainer.folder.images.iterdir():
        os.utime(path, (1, 1))
    trainer.look()
    memory = json.loads((trainer.folder.cache / caches.MEMORY_NAME).read_text())
    assert memory == {}


def test_a_torn_memory_is_passed_over(trainer: Trainer) -> None:
    trainer.cache()
    image = str(trainer.folder.images / "a.png")
    for text in ("{", "[1]", json.dumps({image: "x", "y": [1]})):
        (trainer.folder.cache / caches.MEMORY_NAME).write_text(text)
        assert trainer.look().latents.fresh


def test_a_hundred_images_are_looked_at_in_a_tenth_of_a_second(
    folder: Any, tensors: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processor time, so that other work on the machine does not count; a warm look takes about 0.05 s."""
    monkeypatch.setattr(identity, "SETTLED_NS", -10_000_000_000)
    for number in range(100):
        folder.add(f"{number:03d}.jpg", (640, 480))
    trainer = Trainer(folder, tensors)
    trainer.cache()
    trainer.look()
    times = []
    for _ in range(3):
        start = time.process_time()
        assert trainer.look().latents.fresh
        times.append(time.process_time() - start)
    assert min(times) < 0.1


def test_two_datasets_have_a_stamp_each(trainer: Trainer) -> None:
    root = trainer.folder.root
    (root / "more").mkdir()
    (root / "more" / "a.png").write_bytes((trainer.folder.images / "a.png").read_bytes())
    (root / "more" / "a.txt").write_text("x")
    trainer.folder.config()
    text = trainer.folder.toml.read_text()
    second = text.replace(str(trainer.folder.images), str(root / "more")).replace(
        str(trainer.folder.cache), str(root / "cache2")
    )
    trainer.folder.toml.write_text(text + second)
    facts = dataset_facts(
        read_config(trainer.folder.toml),
        "musubi",
        Caching(),
        latent_weights=(trainer.vae,),
        text_weights=(trainer.text_encoder,),
    )
    assert facts.images == facts.latents.expected == facts.text.missing == 3
    assert [path for path, _ in facts.latents.stamp] == [
        trainer.folder.cache / ".musabi-latents.json",
        root / "cache2" / ".musabi-latents.json",
    ]


def test_the_fingerprint_follows_the_content_and_not_the_place(trainer: Trainer) -> None:
    before = trainer.look().fingerprint
    trainer.folder.root.rename(trainer.folder.root.with_name("moved"))
    trainer.folder.root = trainer.folder.root.with_name("moved")
    assert trainer.look().fingerprint == before
    (trainer.folder.images / "a.txt").write_text("changed")
    changed = trainer.look().fingerprint
    trainer.options = {"num_repeats": 2}
    assert len({before, changed, trainer.look().fingerprint}) == 3


def test_block_sampling_reads_the_whole_of_a_small_file_and_both_ends_of_a_large_one(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(bytes(100_000))
    large.write_bytes(bytes(10_000_000))
    seen = {identity.sampled_hash(small), identity.sampled_hash(large)}
    for path, offset in ((small, 70_000), (large, 0), (large, 9_999_999)):
        kept = path.read_bytes()
        path.write_bytes(kept[:offset] + b"x" + kept[offset + 1 :])
        seen.add(identity.sampled_hash(path))
        path.write_bytes(kept)
    assert len(seen) == 5
