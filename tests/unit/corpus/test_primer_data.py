"""The data files of the primer: all entries and frames are complete, and broken ones are rejected by name."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from scripts import preview_frames as preview

from minimal_llm.corpus.languages import LANGUAGES
from minimal_llm.corpus.primer.frames import (
    FEWEST_SENTENCES,
    FEWEST_WORDINGS,
    KINDS,
    MOST_SENTENCES,
    Frame,
    frame_files,
    load_frame,
    load_frames,
)
from minimal_llm.corpus.primer.grammar import lexicon as lexicon_module
from minimal_llm.corpus.primer.grammar.conjugation import FINITE
from minimal_llm.corpus.primer.grammar.data import PrimerDataError, folder
from minimal_llm.corpus.primer.grammar.lexicon import load_lexicon

FRAMES = [file.name.removesuffix(".yaml") for file in frame_files()]
DATA = Path(str(folder()))


@pytest.fixture(scope="module")
def frames() -> dict[str, Frame]:
    return {frame.id: frame for frame in load_frames()}


def test_the_lexicon_is_large() -> None:
    lexicon = load_lexicon()
    assert len({noun.en for noun in lexicon.nouns}) >= 400
    assert len({noun.es for noun in lexicon.nouns}) >= 400
    assert len({verb.en for verb in lexicon.verbs}) >= 200
    assert len({verb.forms.infinitive for verb in lexicon.spanish_verbs.values()}) >= 190
    assert len({adjective.en for adjective in lexicon.adjectives}) >= 150
    assert len({*lexicon.names.f, *lexicon.names.m}) >= 60


def test_every_noun_has_a_gender_and_all_forms() -> None:
    for noun in load_lexicon().nouns:
        assert noun.g in ("m", "f", "mf"), noun
        assert noun.tags, noun
        for gender in noun.genders:
            for many in (False, True):
                assert noun.english(gender, many).strip() == noun.english(gender, many) != "", noun
                assert noun.spanish(gender, many).strip() == noun.spanish(gender, many) != "", noun
            if not noun.mass and not noun.plural_only:
                assert noun.spanish(gender, True).split()[0].endswith("s"), noun


def test_every_verb_has_all_forms() -> None:
    lexicon = load_lexicon()
    for verb in lexicon.verbs:
        english = lexicon.english_verbs[verb.en]
        assert all((english.base, english.third, english.past, english.participle, english.ing)), verb
        spanish = lexicon.spanish_verbs[verb.es].forms
        assert set(spanish.finite) == set(FINITE), verb
        assert all(form and form == form.strip() for forms in spanish.finite.values() for form in forms), verb
        assert spanish.gerund.endswith("ndo"), verb
        assert spanish.participle.endswith("o"), verb


def test_every_adjective_has_all_forms() -> None:
    for adjective in load_lexicon().adjectives:
        assert all(adjective.spanish), adjective
        assert adjective.comparative, adjective
        assert adjective.superlative, adjective
        if " " not in adjective.es:
            assert all(form.endswith("s") for form in adjective.spanish[2:]), adjective


def test_every_tag_is_explained_and_used() -> None:
    lexicon = load_lexicon()
    for section, entries in (("nouns", lexicon.nouns), ("verbs", lexicon.verbs), ("adjectives", lexicon.adjectives)):
        used = {tag for entry in entries for tag in getattr(entry, "tags", ())}
        assert all(tag.about for tag in lexicon.tags[section].values())
        assert set(lexicon.tags[section]) - {"general"} <= used


def test_there_are_many_frames_of_many_kinds(frames: dict[str, Frame]) -> None:
    kinds = Counter(frame.kind for frame in frames.values())
    assert len(frames) >= 120
    assert len(kinds) >= 10
    assert set(kinds) <= set(KINDS)


@pytest.mark.parametrize("name", FRAMES)
def test_every_frame_is_complete(frames: dict[str, Frame], name: str) -> None:
    frame = frames[name]
    every = list(frame.sentences())
    assert every
    for sentence in [frame.title, *every]:
        for language in LANGUAGES:
            assert len(sentence.wordings[language]) >= FEWEST_WORDINGS, sentence.where
    used = {
        language: {
            slot for one in [frame.title, *every] for template in one.wordings[language] for slot in template.slots
        }
        for language in LANGUAGES
    }
    assert used["en"] == used["es"] == set(frame.spec.slots)
    least = sum(
        min(map(len, step)) if isinstance(step, tuple) else step != "break" and step.chance is None
        for step in frame.steps
    )
    most = sum(max(map(len, step)) if isinstance(step, tuple) else step != "break" for step in frame.steps)
    assert FEWEST_SENTENCES <= least <= most <= MOST_SENTENCES


@pytest.mark.parametrize("name", FRAMES)
def test_every_frame_passes_proofreading(frames: dict[str, Frame], name: str) -> None:
    assert frames[name].problems() == []


# --- broken data ------------------------------------------------------------------------------------------------

_TURN = """\
  - en: ["{Hero} saw {a pet} in the garden.", "In the garden, {hero} met {a pet}."]
    es: ["{Hero} vio {un pet} en el jardín.", "En el jardín, {hero} encontró {a? un pet}."]
"""
_FRAME = (
    """\
id: small_story
kind: fable
slots:
  hero: person
  pet: noun pet
title: {en: ["{Hero} and {the pet}", "{The pet}"], es: ["{Hero} y {el pet}", "{El pet}"]}
sentences:
"""
    + _TURN * 6
)


def _load(folder: Path, text: str, name: str = "small_story.yaml") -> Frame:
    source = folder / name
    source.write_text(text, encoding="utf-8")
    return load_frame(source, load_lexicon())


def test_the_small_frame_is_valid(tmp_path: Path) -> None:
    assert _load(tmp_path, _FRAME).id == "small_story"


@pytest.mark.parametrize(
    ("old", "new", "place", "problem"),
    [
        ("hero: person", "hero: [person", "small_story.yaml", "is not valid YAML"),
        ("kind: fable", "kind: fable\nkind: fable", "small_story.yaml", "duplicate key 'kind'"),
        ("kind: fable\n", "", "small_story.yaml", "kind"),
        ("kind: fable", "kind: novel", "small_story.yaml", "kind"),
        ("kind: fable", "kind: fable\nauthor: me", "small_story.yaml", "author"),
        ("id: small_story", "id: other_story", "small_story.yaml", "other_story.yaml"),
        ("pet: noun pet", "pet: noun unicorns", "slot pet", "unicorns"),
        ("pet: noun pet", "pet: creature", "small_story.yaml", "is not a slot"),
        ("pet: noun pet", "pet: {type: noun, only: [dog, dragonette]}", "slot pet", "dragonette"),
        ("pet: noun pet", "pet: {type: noun, only: [dog]}", "slot pet", "too few matching words: 1"),
        ("pet: noun pet", "pet: noun pet\n  m: person", "slot m", "reserved word"),
        ("pet: noun pet", "pet: noun pet\n  name: pet_name hero", "slot name", "NounSlot"),
        ("pet: noun pet", "pet: noun pet\n  n: number 9 2", "small_story.yaml", "min must be less than max"),
        ("pet: noun pet", "pet: noun pet\n  other: person", "small_story", "other"),
        ("{a pet} in", "{a animal} in", "sentence 1 (en)", "animal"),
        ("{un pet} en", "{una pet} en", "sentence 1 (es)", "'un'"),
        ("{un pet} en", "{un mascota} en", "sentence 1 (es)", "mascota"),
        ("{un pet} en", "{un pet en", "sentence 1 (es)", "not closed"),
        ("{un pet} en", "{un =mamut} en", "sentence 1 (es)", "mamut"),
        ("{a pet} in", "{hero.her} {pet} in", "sentence 1 (en)", "her"),
        ("{a pet} in", "{=see.gone @hero} in", "sentence 1 (en)", "see"),
        ("{a pet} in", "[a dog] in", "sentence 1 (en)", "two alternatives"),
        (_TURN * 6, _TURN * 5, "small_story", "5 to 5 sentences"),
        (_TURN * 6, _TURN * 16, "small_story", "16 to 16 sentences"),
        (', "In the garden, {hero} met {a pet}."', "", "small_story.yaml", "at least 2"),
    ],
)
def test_a_broken_frame_is_rejected_by_name(tmp_path: Path, old: str, new: str, place: str, problem: str) -> None:
    assert old in _FRAME
    with pytest.raises(PrimerDataError) as caught:
        _load(tmp_path, _FRAME.replace(old, new, 1))
    assert "small_story" in str(caught.value)
    assert place in str(caught.value)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("garden.", "garden", "does not end like a sentence"),
        ("garden.", "garden .", "space before"),
        ("{Hero} saw", "{Hero}  saw", "extra spaces"),
        ("{Hero} vio", "¿{Hero} vio", "unpaired ¿ ?"),
        ("{Hero} saw {a pet} in the garden.", "“{Hero} saw {a pet}.", "unpaired quotes"),
        ("{Hero} saw {a pet} in the garden.", "“I saw {a pet}”, said {hero}.", "before the closing quote"),
        ("{Hero} vio {un pet} en el jardín.", "— He visto {un pet} —dijo {hero}.", "after the first dash"),
        ("{Hero} vio {un pet} en el jardín.", "“He visto {un pet}.”", "after the closing quote"),
        ("In the garden, {hero} met {a pet}.", "{Hero} saw {a pet} in the garden.", "duplicate wording"),
        (_TURN, '  - {en: ["It rained.", "It snowed."], es: ["Llovió.", "Nevó."]}\n', "only 2 different texts"),
    ],
)
def test_proofreading_finds(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert old in _FRAME
    found = _load(tmp_path, _FRAME.replace(old, new, 1)).problems()
    assert any(problem in line and line.startswith("small_story: sentence 1") for line in found), found


@pytest.mark.parametrize(
    ("file", "change", "place", "problem"),
    [
        (
            "nouns.yaml",
            lambda t: t.replace("{en: doctor, es: médico, g: mf}", "{en: doctor, es: médico}"),
            "doctor",
            "g",
        ),
        ("nouns.yaml", lambda t: t.replace("es: médico, g: mf", "es: médico, g: x"), "doctor", "g"),
        ("nouns.yaml", lambda t: t.replace("es: médico, g: mf", "g: mf"), "doctor", "es"),
        ("nouns.yaml", lambda t: t.replace("es: médico, g: mf", "es: médico, g: mf, size: 3"), "doctor", "size"),
        ("nouns.yaml", lambda t: t.replace("es: médico, g: mf", "es: médico, g: mf, tags: [hero]"), "doctor", "hero"),
        (
            "nouns.yaml",
            lambda t: t.replace("{en: cow, es: vaca, g: f}", "{en: cow, es: vaca, g: mf}"),
            "cow",
            "persons",
        ),
        ("nouns.yaml", lambda t: t.replace("{en: cow, es: vaca", "{en: doctor, es: vaca"), "doctor", "two nouns"),
        ("nouns.yaml", lambda t: t.replace("{en: cow, es: vaca, g: f}", "cow"), "cow", "not an entry"),
        ("nouns.yaml", lambda t: t + "\nstuff:\n  - {en: x, es: y, g: m}\n", "x", "tags.yaml"),
        ("nouns.yaml", lambda t: t.replace("job:", "job: [", 1), "nouns.yaml", "not valid YAML"),
        ("nouns.yaml", lambda t: "- a\n- b\n", "nouns.yaml", "mapping"),
        ("verbs.yaml", lambda t: t.replace("stem: ue", "stem: uo", 1), "fly", "stem"),
        ("verbs.yaml", lambda t: t.replace("es: caminar", "es: camino", 1), "walk", "infinitive"),
        ("verbs.yaml", lambda t: t.replace("like: seguir", "like: dormir", 1), "get", "dormir"),
        ("verbs.yaml", lambda t: t + "\n  - {en: glide away, es: planear}\n", "glide away", "entry of its own"),
        ("adjectives.yaml", lambda t: t.replace("es: rojo", "es: ''", 1), "red", "es"),
        ("adjectives.yaml", lambda t: t.replace("{en: red,", "{en: red, pos: under,", 1), "red", "pos"),
        ("phrases.yaml", lambda t: t + "\nnowhere:\n  - {en: here, es: aquí}\n", "phrases.yaml", "nowhere"),
        ("phrases.yaml", lambda t: t + "\nonce2:\n  - {en: here}\n", "phrases.yaml", "es"),
        ("names.yaml", lambda t: t.replace("f: [Ada,", "f: [Ada, Ada,", 1), "names.yaml", "Ada"),
        ("tags.yaml", lambda t: t.replace("about: everybody", "says: everybody", 1), "nouns.person", "about"),
    ],
)
def test_a_broken_lexicon_is_rejected_by_name(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    change: Callable[[str], str],
    place: str,
    problem: str,
) -> None:
    for source in DATA.glob("*.yaml"):
        shutil.copy(source, tmp_path / source.name)
    before = (tmp_path / file).read_text(encoding="utf-8")
    assert change(before) != before
    (tmp_path / file).write_text(change(before), encoding="utf-8")
    monkeypatch.setattr(lexicon_module, "folder", lambda: tmp_path)
    with pytest.raises(PrimerDataError) as caught:
        load_lexicon.__wrapped__()
    assert file in caught.value.where
    assert place in str(caught.value)
    assert problem in str(caught.value)
    assert "docs/PRIMER.md" in str(caught.value)


def test_preview_checks_and_shows(capsys: pytest.CaptureFixture[str]) -> None:
    assert preview.main(["--frame", "lost_pet", "--check"]) == 0
    assert preview.main(["--frame", "lost_pet", "--count", "1"]) == 0
    assert "--- lost_pet" in capsys.readouterr().out
    assert preview.main(["--frame", "no_such_frame", "--check"]) == 1
    assert "no_such_frame" in capsys.readouterr().out
