"""The agreement checker reports no error in the primer, and finds nearly every error planted in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice

import pytest
from scripts.agreement.check import Agreement, check_agreement

from minimal_llm.corpus.documents import Document
from minimal_llm.corpus.languages import Language
from minimal_llm.corpus.primer.grammar import english
from minimal_llm.corpus.primer.grammar.entries import Noun
from minimal_llm.corpus.primer.grammar.lexicon import load_lexicon
from minimal_llm.corpus.primer.grammar.spanish import stressed_a
from minimal_llm.corpus.primer.text import sentences

Mutation = Callable[[str], "str | None"]
PLANTED = 300  # errors of each kind


@pytest.mark.parametrize(
    "text",
    [
        "a dogs ran",
        "a apple",
        "an dog",
        "a old dog",
        "an big dog",
        "a hour",
        "a mice",
        "this dogs are here",
        "these dog sleeps",
        "those cat",
        "in that houses",
        "two dog ran",
        "five goose",
        "three old house",
        "twenty-one dog",
        "one dogs ran",
        "many dog",
        "a few dog",
        "another dogs",
        "every dogs",
        "he walk home",
        "they walks home",
        "She have a dog.",
        "I is sad",
        "he were sad",
        "we was late",
        "Ana walk home.",
        "Ana and Luis was happy.",
        "When Ana walk home, it rains.",
        "The dog have a bone.",
        "The dogs has a bone.",
        "My brother eat a pie.",
        "the dogs eats",
        "the mice runs",
        "Ana don’t know",
        "they doesn't know",
        "There was two dogs.",
        "There were a dog.",
        "What are he doing?",
        "Is they there?",
    ],
)
def test_errors_in_english_are_found(text: str) -> None:
    assert check_agreement(text, "en").errors


@pytest.mark.parametrize(
    "text",
    [
        "a university",
        "an hour",
        "an honest man",
        "a one-eyed cat",
        "a hundred dogs",
        "a few dogs",
        "Did he walk home?",
        "Does she like it?",
        "Let it rain.",
        "Help Ana walk.",
        "If I were you",
        "as if he were sad",
        "He said that dogs bark.",
        "three kitchen chairs",
        "two toy trains",
        "these apple trees",
        "The sheep are here.",
        "the fish swim",
        "The dog walks home.",
        "the dog house",
        "This means war.",
        "no one knows",
        "twenty-one dogs",
        "One of the dogs is sad.",
        "The color of the dogs is red.",
        "Ana, Luis, and Eva walk.",
        "Both Ana and he were there.",
        "the scissors are sharp",
        "Ana cut the bread.",
        "A house like this",
        "There were a hundred dogs.",
        "the three friends walk",
        "How can Ana swim?",
        "one or two dogs",
        "the boys’ dog",
        "a dog’s bones",
    ],
)
def test_correct_english_passes(text: str) -> None:
    assert check_agreement(text, "en").errors == ()


@pytest.mark.parametrize(
    "text",
    [
        "el casa",
        "los casa",
        "la perro",
        "una perro",
        "la agua",
        "la águila",
        "el agua frío",
        "de el perro",
        "a el perro",
        "del casa",
        "al casa",
        "dos perro",
        "un casa",
        "veintiún casas",
        "treinta y un casas",
        "doscientos casas",
        "la casa rojo",
        "los perros negra",
        "un perro grandes",
        "la caja de música rojo",
        "una manta roja y negro",
        "una buen amigo",
        "un bueno amigo",
        "el primero día",
        "esta libro",
        "estos libro",
        "mi libros",
        "todas los días",
        "nuestra perro",
        "la problema",
        "los mano",
        "Ana corrieron.",
        "Entonces Ana se sentaron.",
        "los niños corre",
        "Los niños no corre",
        "El perro se comieron el pan.",
        "yo come",
        "tú tengo",
        "Nosotros come pan.",
        "ellos come",
        "ella tienen",
        "él han comido",
        "Ana y Luis corrió.",
        "Ana y yo corrieron.",
        "Ana estaba cansado.",
        "Ana y Luis estaban muy cansadas.",
        "La casa era rojo.",
        "Los perros estaba",
        "La madre de Ana tenían sueño.",
        "—Hola —dijeron Ana.",
    ],
)
def test_errors_in_spanish_are_found(text: str) -> None:
    assert check_agreement(text, "es").errors


@pytest.mark.parametrize(
    "text",
    [
        "el agua fría",
        "las aguas",
        "un hacha",
        "la arena",
        "la gran águila",
        "la mano",
        "el problema",
        "el mapa viejo",
        "la foto bonita",
        "los miércoles",
        "un vestido rosa",
        "treinta y un perros",
        "doscientas una monedas",
        "un buen amigo",
        "todo el día",
        "la prueba y los cuenta",
        "Los domingos vamos al parque.",
        "Ana y yo corrimos.",
        "Cuando llegó Ana corrieron a casa.",
        "Con Ana fueron al bosque.",
        "El pan lo compraron.",
        "El niño limpia la mesa.",
        "La niña seca los platos.",
        "La niña solo quería pan.",
        "Salió del bosque contento.",
        "un perro y una gata negros",
        "la puerta de la casa roja",
        "cada vez más cansado",
        "las siete menos cuarto",
        "Yo también quiero pan.",
        "Al agua se fueron.",
        "Vino a verme y los perros ladraron.",
        "¿Cuántas manzanas tienes?",
    ],
)
def test_correct_spanish_passes(text: str) -> None:
    assert check_agreement(text, "es").errors == ()


def test_results_add_up() -> None:
    total = check_agreement("a dog", "en") + check_agreement("a dogs", "en") + Agreement()
    assert (total.groups, total.agreeing, total.share, total.errors) == (2, 1, 0.5, ("a dogs",))
    assert check_agreement("Nothing to judge here", "en").share == 1.0


@pytest.mark.parametrize("language", ["en", "es"])
def test_the_primer_has_no_agreement_errors(primer: list[Document], language: Language) -> None:
    text = "\n".join(paragraph for one in primer if one.language == language for paragraph in one.paragraphs)
    result = check_agreement(text, language)
    assert sorted(set(result.errors)) == []
    assert result.groups / len(text.split()) > 0.06


# --- planted errors ---------------------------------------------------------------------------------------------

_SINGULAR_ARTICLES = {"el": "la", "la": "el", "un": "una", "una": "un"}
_PLURAL_ARTICLES = {"los": "las", "las": "los", "unos": "unas", "unas": "unos"}
_NUMBER_OF_ARTICLES = {"el": "los", "la": "las", "un": "unos", "una": "unas"}
_AN = re.compile(r"(?<=\b[Aa])(n?)(?= [a-z])")


def _nouns(language: Language) -> dict[str, Noun]:
    return {
        noun.en if language == "en" else noun.es: noun
        for noun in load_lexicon().nouns
        if " " not in (noun.en + noun.es) and noun.g != "mf" and not noun.mass and not noun.plural_only
    }


def _both_numbers(language: Language) -> dict[str, str]:
    nouns: dict[str, str] = {}
    for noun in _nouns(language).values():
        forms = [(noun.english if language == "en" else noun.spanish)(noun.genders[0], many) for many in (False, True)]
        nouns |= {forms[0]: forms[1], forms[1]: forms[0]}
    return {one: other for one, other in nouns.items() if one != other}


def _replace(pattern: str, change: Callable[[re.Match[str]], str | None]) -> Mutation:
    compiled = re.compile(pattern)

    def mutate(sentence: str) -> str | None:
        for match in compiled.finditer(sentence):
            changed = change(match)
            if changed is not None:
                return sentence[: match.start()] + changed + sentence[match.end() :]
        return None

    return mutate


def _spanish_mutations() -> dict[str, Mutation]:
    lexicon, nouns = load_lexicon(), _both_numbers("es")
    lemmas = _nouns("es")
    times = {lemma for lemma, noun in lemmas.items() if {"day", "part_of_day", "unit", "season"} & set(noun.tags)}
    adjectives = [a.spanish for a in lexicon.adjectives if len(set(a.spanish)) == 4 and a.es != "solo"]
    other_gender = {f: forms[i ^ 1] for forms in adjectives for i, f in enumerate(forms)}
    other_number = {f: forms[i ^ 2] for forms in adjectives for i, f in enumerate(forms)}
    verbs: dict[str, str] = {}
    for verb in lexicon.spanish_verbs.values():
        for tense in ("pres", "past", "imp", "fut"):
            verbs[verb.forms.finite[tense][2]] = verb.forms.finite[tense][5]
    names = "|".join((*lexicon.names.f, *lexicon.names.m))

    def article(table: dict[str, str]) -> Mutation:
        def change(match: re.Match[str]) -> str | None:
            known = match[2] in nouns and not stressed_a(match[2])
            return f"{table[match[1]]} {match[2]}" if known else None

        return _replace(rf"\b({'|'.join(table)}) (\w+)\b", change)

    def noun(match: re.Match[str]) -> str | None:
        return f"{match[1]} {nouns[match[2]]}" if match[2] in nouns else None

    def adjective(table: dict[str, str]) -> Mutation:
        def change(match: re.Match[str]) -> str | None:
            known = match[2] in nouns and match[3] in table
            return f"{match[1]} {match[2]} {table[match[3]]}" if known else None

        return _replace(r"\b(el|la|los|las|un|una|unos|unas) (\w+) (\w+)\b", change)

    def person(match: re.Match[str]) -> str | None:
        noun = match[1].split()[-1]
        if match[2] not in verbs or (noun != match[1] and (noun not in lemmas or noun in times)):
            return None
        return f"{match[1]} {verbs[match[2]]}"

    return {
        "article gender": article(_SINGULAR_ARTICLES | _PLURAL_ARTICLES),
        "article number": article(_NUMBER_OF_ARTICLES),
        "noun number": _replace(r"\b(el|la|los|las|un|una|este|esta|su|dos|tres|cuatro|cinco|seis) (\w+)\b", noun),
        "adjective gender": adjective(other_gender),
        "adjective number": adjective(other_number),
        "verb after a name": _replace(rf"^({names}) (\w+)\b", person),
        "verb after a noun": _replace(r"^((?:El|La|Un|Una|Su|Mi) \w+) (\w+)\b", person),
    }


def _english_mutations() -> dict[str, Mutation]:
    lexicon, nouns = load_lexicon(), _both_numbers("en")
    verbs = {"was": "were", "were": "was", "is": "are", "are": "is", "has": "have", "have": "has", "do": "does"}
    for one in lexicon.english_verbs.values():
        if not one.rest and one.base not in ("be", "can") and one.past != one.base:
            verbs |= {one.base: one.third, one.third: one.base}
    names = "|".join((*lexicon.names.f, *lexicon.names.m))
    numbers = "|".join(english.number(value) for value in range(2, 60))

    def noun(match: re.Match[str]) -> str | None:
        return f"{match[1]} {nouns[match[2]]}" if match[2] in nouns else None

    def verb(match: re.Match[str]) -> str | None:
        if match[2] not in verbs or (match[2] == "were" and "if" in match.string):
            return None
        if " " in match[1] and match[1].split()[1] not in nouns:
            return None
        return f"{match[1]} {verbs[match[2]]}"

    return {
        "a or an": _replace(_AN.pattern, lambda match: "" if match[1] else "n"),
        "noun after a": _replace(r"\b(an?|another|every) (\w+)\b(?! \w+)", noun),
        "noun after a number": _replace(rf"\b({numbers}) (\w+)\b(?! \w+)", noun),
        "verb after a name": _replace(rf"^({names}) (\w+)\b", verb),
        "verb after a pronoun": _replace(r"^(He|She|They|We|I|It) (?!am )(\w+)\b", verb),
        "verb after a noun": _replace(r"^((?:The|A|My) \w+) (was|were|is|are|has|have|goes|wants)\b", verb),
    }


MUTATIONS: dict[Language, dict[str, Mutation]] = {"en": _english_mutations(), "es": _spanish_mutations()}


def _planted(primer: list[Document], language: Language, mutation: Mutation) -> Iterator[tuple[str, str]]:
    for document in primer:
        if document.language == language:
            for sentence in (one for paragraph in document.paragraphs for one in sentences(paragraph)):
                changed = mutation(sentence)
                if changed is not None:
                    yield sentence, changed


@pytest.mark.parametrize(
    ("language", "kind"), [(language, kind) for language, kinds in MUTATIONS.items() for kind in kinds]
)
def test_planted_errors_are_found(primer: list[Document], language: Language, kind: str) -> None:
    planted = list(islice(_planted(primer, language, MUTATIONS[language][kind]), PLANTED))
    missed = [changed for _, changed in planted if not check_agreement(changed, language).errors]
    assert len(planted) >= PLANTED // 10
    assert len(missed) <= 0.1 * len(planted), missed[:20]
