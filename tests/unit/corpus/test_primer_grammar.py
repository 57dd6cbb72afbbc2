"""The grammar rules of both languages, checked against forms written by hand."""

from __future__ import annotations

import pytest

from minimal_llm.corpus.primer.grammar import english, spanish
from minimal_llm.corpus.primer.grammar.conjugation import Verb, attach
from minimal_llm.corpus.primer.grammar.lexicon import irregular_verb, load_lexicon
from minimal_llm.corpus.primer.text import finish, sentences

PERSONS = {"yo": 0, "tú": 1, "él": 2, "nosotros": 3, "vosotros": 4, "ellos": 5}


def _spanish(infinitive: str) -> Verb:
    verbs = load_lexicon().spanish_verbs
    return (verbs.get(infinitive) or verbs[infinitive + "se"]).forms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a apple", "An apple."),
        ("a old dog", "An old dog."),
        ("an dog", "A dog."),
        ("a hour", "An hour."),
        ("a honest man", "An honest man."),
        ("a house", "A house."),
        ("an university", "A university."),
        ("an unicorn", "A unicorn."),
        ("a umbrella", "An umbrella."),
        ("a unusual hat", "An unusual hat."),
        ("an useful map", "A useful map."),
        ("an ukulele", "A ukulele."),
        ("a ugly hat", "An ugly hat."),
        ("an one-eyed cat", "A one-eyed cat."),
        ("an European city", "A European city."),
        ("a onion", "An onion."),
        ("a eighth part", "An eighth part."),
        ("a “old” map", "An “old” map."),
    ],
)
def test_a_or_an_follows_the_sound(text: str, expected: str) -> None:
    assert finish(text + ".", "en") == expected


@pytest.mark.parametrize(
    ("noun", "plural"),
    [
        ("dog", "dogs"),
        ("box", "boxes"),
        ("bus", "buses"),
        ("church", "churches"),
        ("brush", "brushes"),
        ("puppy", "puppies"),
        ("monkey", "monkeys"),
        ("child", "children"),
        ("person", "people"),
        ("mouse", "mice"),
        ("goose", "geese"),
        ("sheep", "sheep"),
        ("deer", "deer"),
        ("wolf", "wolves"),
        ("calf", "calves"),
        ("thief", "thieves"),
        ("elf", "elves"),
        ("leaf", "leaves"),
        ("knife", "knives"),
        ("shelf", "shelves"),
        ("scarf", "scarves"),
        ("handkerchief", "handkerchiefs"),
        ("roof", "roofs"),
        ("tooth", "teeth"),
        ("foot", "feet"),
        ("potato", "potatoes"),
        ("tomato", "tomatoes"),
        ("echo", "echoes"),
        ("piano", "pianos"),
        ("old man", "old men"),
        ("watering can", "watering cans"),
        ("chest of drawers", "chests of drawers"),
    ],
)
def test_english_plurals(noun: str, plural: str) -> None:
    assert load_lexicon().noun_by["en"][noun].english("m", True) == plural


def test_english_feminines() -> None:
    nouns = load_lexicon().noun_by["en"]
    assert (nouns["actor"].english("f", False), nouns["actor"].english("f", True)) == ("actress", "actresses")
    assert (nouns["king"].english("f", False), nouns["prince"].english("f", True)) == ("queen", "princesses")
    assert nouns["old man"].english("f", True) == "old women"


@pytest.mark.parametrize(
    ("base", "third", "past", "participle", "ing"),
    [
        ("walk", "walks", "walked", "walked", "walking"),
        ("watch", "watches", "watched", "watched", "watching"),
        ("carry", "carries", "carried", "carried", "carrying"),
        ("play", "plays", "played", "played", "playing"),
        ("go", "goes", "went", "gone", "going"),
        ("do", "does", "did", "done", "doing"),
        ("have", "has", "had", "had", "having"),
        ("dance", "dances", "danced", "danced", "dancing"),
        ("stop", "stops", "stopped", "stopped", "stopping"),
        ("run", "runs", "ran", "run", "running"),
        ("forget", "forgets", "forgot", "forgotten", "forgetting"),
        ("visit", "visits", "visited", "visited", "visiting"),
        ("fix", "fixes", "fixed", "fixed", "fixing"),
        ("lie", "lies", "lay", "lain", "lying"),
        ("tie", "ties", "tied", "tied", "tying"),
        ("flee", "flees", "fled", "fled", "fleeing"),
        ("see", "sees", "saw", "seen", "seeing"),
        ("fly", "flies", "flew", "flown", "flying"),
        ("write", "writes", "wrote", "written", "writing"),
        ("begin", "begins", "began", "begun", "beginning"),
        ("read", "reads", "read", "read", "reading"),
        ("cut", "cuts", "cut", "cut", "cutting"),
        ("teach", "teaches", "taught", "taught", "teaching"),
        ("buzz", "buzzes", "buzzed", "buzzed", "buzzing"),
        ("row", "rows", "rowed", "rowed", "rowing"),
        ("cook", "cooks", "cooked", "cooked", "cooking"),
        ("hop", "hops", "hopped", "hopped", "hopping"),
        ("hope", "hopes", "hoped", "hoped", "hoping"),
    ],
)
def test_english_verbs(base: str, third: str, past: str, participle: str, ing: str) -> None:
    verb = load_lexicon().english_verbs[base]
    assert (verb.third, verb.past, verb.participle, verb.ing) == (third, past, participle, ing)


def test_the_words_after_a_verb_are_kept() -> None:
    verb = load_lexicon().english_verbs["ride a bike"]
    assert (verb.past, verb.rest) == ("rode", " a bike")


@pytest.mark.parametrize(
    ("adjective", "comparative", "superlative"),
    [
        ("big", "bigger", "biggest"),
        ("small", "smaller", "smallest"),
        ("happy", "happier", "happiest"),
        ("wise", "wiser", "wisest"),
        ("wet", "wetter", "wettest"),
        ("new", "newer", "newest"),
        ("good", "better", "best"),
        ("bad", "worse", "worst"),
        ("gentle", "gentler", "gentlest"),
        ("quiet", "quieter", "quietest"),
        ("lonely", "lonelier", "loneliest"),
        ("shy", "shyer", "shyest"),
        ("beautiful", "more beautiful", "most beautiful"),
        ("tired", "more tired", "most tired"),
        ("dry", "drier", "driest"),
        ("bent", "more bent", "most bent"),
    ],
)
def test_english_comparatives(adjective: str, comparative: str, superlative: str) -> None:
    entry = load_lexicon().adjective_by["en"][adjective]
    assert (entry.comparative, entry.superlative) == (comparative, superlative)


@pytest.mark.parametrize(
    ("value", "words"),
    [(1, "one"), (13, "thirteen"), (40, "forty"), (99, "ninety-nine"), (105, "one hundred and five")],
)
def test_english_numbers(value: int, words: str) -> None:
    assert english.number(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(1, "first"), (3, "third"), (8, "eighth"), (9, "ninth"), (12, "twelfth"), (20, "twentieth"), (21, "twenty-first")],
)
def test_english_ordinals(value: int, words: str) -> None:
    assert english.ordinal(value) == words


def test_clock_times() -> None:
    assert [english.clock(12, quarter) for quarter in range(4)] == [
        "twelve o’clock",
        "a quarter past twelve",
        "half past twelve",
        "a quarter to one",
    ]
    assert [spanish.clock(12, quarter) for quarter in range(4)] == [
        "las doce",
        "las doce y cuarto",
        "las doce y media",
        "la una menos cuarto",
    ]


@pytest.mark.parametrize(
    ("word", "plural"),
    [
        ("casa", "casas"),
        ("café", "cafés"),
        ("sofá", "sofás"),
        ("pared", "paredes"),
        ("color", "colores"),
        ("reloj", "relojes"),
        ("rey", "reyes"),
        ("luz", "luces"),
        ("lápiz", "lápices"),
        ("nuez", "nueces"),
        ("canción", "canciones"),
        ("jardín", "jardines"),
        ("francés", "franceses"),
        ("autobús", "autobuses"),
        ("joven", "jóvenes"),
        ("imagen", "imágenes"),
        ("árbol", "árboles"),
        ("examen", "exámenes"),
        ("lunes", "lunes"),
        ("paraguas", "paraguas"),
        ("mes", "meses"),
        ("gris", "grises"),
        ("baúl", "baúles"),
        ("raíz", "raíces"),
        ("río", "ríos"),
        ("hotel", "hoteles"),
        ("fácil", "fáciles"),
    ],
)
def test_spanish_plurals(word: str, plural: str) -> None:
    assert spanish.plural(word) == plural


@pytest.mark.parametrize(
    ("word", "feminine"),
    [
        ("rojo", "roja"),
        ("trabajador", "trabajadora"),
        ("gruñón", "gruñona"),
        ("bailarín", "bailarina"),
        ("francés", "francesa"),
        ("capitán", "capitana"),
        ("mayor", "mayor"),
        ("mejor", "mejor"),
        ("marrón", "marrón"),
        ("verde", "verde"),
        ("feliz", "feliz"),
        ("egoísta", "egoísta"),
        ("joven", "joven"),
    ],
)
def test_spanish_feminines(word: str, feminine: str) -> None:
    assert spanish.feminine(word) == feminine


@pytest.mark.parametrize(
    ("adjective", "gender", "many", "expected"),
    [
        ("bueno", "m", False, "buen"),
        ("bueno", "f", False, "buena"),
        ("bueno", "m", True, "buenos"),
        ("malo", "m", False, "mal"),
        ("primero", "m", False, "primer"),
        ("tercero", "f", False, "tercera"),
        ("grande", "m", False, "gran"),
        ("grande", "f", False, "gran"),
        ("grande", "f", True, "grandes"),
        ("pequeño", "m", False, "pequeño"),
    ],
)
def test_short_forms_before_a_noun(adjective: str, gender: spanish.Gender, many: bool, expected: str) -> None:
    assert spanish.before_noun(spanish.adjective_forms(adjective), gender, many) == expected


@pytest.mark.parametrize(
    ("noun", "stressed"),
    [
        ("agua", True),
        ("águila", True),
        ("hacha", True),
        ("hada", True),
        ("aula", True),
        ("ala", True),
        ("arena", False),
        ("abeja", False),
        ("hamaca", False),
        ("almohada", False),
        ("casa", False),
    ],
)
def test_feminine_nouns_that_take_el(noun: str, stressed: bool) -> None:
    assert spanish.stressed_a(noun) is stressed
    assert spanish.determiner("el", "f", False, noun, True) == ("el" if stressed else "la")
    assert spanish.determiner("un", "f", False, noun, True) == ("un" if stressed else "una")
    assert spanish.determiner("este", "f", False, noun, True) == "esta"
    assert spanish.determiner("el", "f", True, noun + "s", True) == "las"
    assert spanish.determiner("el", "f", False, "gran", False) == "la"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fue a el río.", "Fue al río."),
        ("La cola de el gato.", "La cola del gato."),
        ("Fue a él.", "Fue a él."),
        ("Es de él.", "Es de él."),
        ("Padre y hijo.", "Padre e hijo."),
        ("Aguja y hilo.", "Aguja e hilo."),
        ("Ana y Irene.", "Ana e Irene."),
        ("Agua y hielo.", "Agua y hielo."),
        ("Nieve y hierba.", "Nieve y hierba."),
        ("Pan y queso.", "Pan y queso."),
        ("Siete o ocho.", "Siete u ocho."),
        ("Ana o Olga.", "Ana u Olga."),
        ("Mujer o hombre.", "Mujer u hombre."),
        ("Uno o dos.", "Uno o dos."),
    ],
)
def test_spanish_contractions(text: str, expected: str) -> None:
    assert finish(text, "es") == expected


@pytest.mark.parametrize(
    ("value", "gender", "before", "words"),
    [
        (1, "m", True, "un"),
        (1, "f", True, "una"),
        (1, "m", False, "uno"),
        (16, "m", True, "dieciséis"),
        (21, "m", True, "veintiún"),
        (21, "f", True, "veintiuna"),
        (21, "m", False, "veintiuno"),
        (22, "m", True, "veintidós"),
        (31, "m", True, "treinta y un"),
        (31, "f", True, "treinta y una"),
        (100, "m", True, "cien"),
        (101, "f", True, "ciento una"),
        (250, "f", True, "doscientas cincuenta"),
        (500, "m", True, "quinientos"),
        (700, "f", True, "setecientas"),
    ],
)
def test_spanish_numbers(value: int, gender: spanish.Gender, before: bool, words: str) -> None:
    assert spanish.number(value, gender, before) == words


@pytest.mark.parametrize(
    ("infinitive", "tense", "person", "form"),
    [
        ("caminar", "pres", "yo", "camino"),
        ("caminar", "pres", "vosotros", "camináis"),
        ("caminar", "past", "él", "caminó"),
        ("caminar", "imp", "nosotros", "caminábamos"),
        ("caminar", "subj_imp", "nosotros", "camináramos"),
        ("comer", "past", "ellos", "comieron"),
        ("vivir", "pres", "nosotros", "vivimos"),
        ("vivir", "fut", "ellos", "vivirán"),
        ("vivir", "cond", "tú", "vivirías"),
        # spelling
        ("tocar", "past", "yo", "toqué"),
        ("llegar", "past", "yo", "llegué"),
        ("llegar", "subj", "ellos", "lleguen"),
        ("cruzar", "past", "yo", "crucé"),
        ("cruzar", "subj", "él", "cruce"),
        ("coger", "pres", "yo", "cojo"),
        ("seguir", "pres", "yo", "sigo"),
        ("conocer", "pres", "yo", "conozco"),
        ("crecer", "subj", "nosotros", "crezcamos"),
        ("leer", "past", "él", "leyó"),
        ("leer", "past", "tú", "leíste"),
        ("creer", "past", "ellos", "creyeron"),
        ("caer", "past", "nosotros", "caímos"),
        ("construir", "pres", "él", "construye"),
        ("construir", "past", "ellos", "construyeron"),
        ("huir", "subj", "yo", "huya"),
        ("huir", "past", "yo", "hui"),
        ("gruñir", "past", "él", "gruñó"),
        # stems
        ("pensar", "pres", "él", "piensa"),
        ("pensar", "pres", "nosotros", "pensamos"),
        ("empezar", "subj", "ellos", "empiecen"),
        ("empezar", "past", "yo", "empecé"),
        ("contar", "pres", "ellos", "cuentan"),
        ("jugar", "pres", "yo", "juego"),
        ("jugar", "subj", "nosotros", "juguemos"),
        ("oler", "pres", "él", "huele"),
        ("dormir", "past", "él", "durmió"),
        ("dormir", "subj", "nosotros", "durmamos"),
        ("sentir", "past", "ellos", "sintieron"),
        ("pedir", "pres", "yo", "pido"),
        ("pedir", "past", "él", "pidió"),
        ("elegir", "pres", "yo", "elijo"),
        ("elegir", "pres", "tú", "eliges"),
        ("regar", "subj", "él", "riegue"),
        ("devolver", "pres", "él", "devuelve"),
        # accents
        ("enviar", "pres", "él", "envía"),
        ("enviar", "pres", "nosotros", "enviamos"),
        ("guiar", "past", "él", "guio"),
        ("guiar", "pres", "yo", "guío"),
        ("continuar", "pres", "ellos", "continúan"),
        ("maullar", "pres", "él", "maúlla"),
        ("sonreír", "pres", "él", "sonríe"),
        ("sonreír", "past", "él", "sonrió"),
        ("reír", "past", "él", "rio"),
        ("oír", "pres", "nosotros", "oímos"),
        ("oír", "past", "él", "oyó"),
        # irregular
        ("ser", "past", "ellos", "fueron"),
        ("ser", "imp", "nosotros", "éramos"),
        ("ser", "imper", "tú", "sé"),
        ("ir", "imp", "ellos", "iban"),
        ("ir", "subj_imp", "yo", "fuera"),
        ("estar", "past", "yo", "estuve"),
        ("estar", "subj", "ellos", "estén"),
        ("tener", "fut", "él", "tendrá"),
        ("tener", "imper", "tú", "ten"),
        ("hacer", "past", "él", "hizo"),
        ("hacer", "cond", "yo", "haría"),
        ("decir", "past", "ellos", "dijeron"),
        ("decir", "subj_imp", "nosotros", "dijéramos"),
        ("traer", "past", "ellos", "trajeron"),
        ("poner", "pres", "yo", "pongo"),
        ("proponer", "past", "él", "propuso"),
        ("proponer", "imper", "tú", "propón"),
        ("sostener", "pres", "tú", "sostienes"),
        ("venir", "past", "él", "vino"),
        ("salir", "fut", "nosotros", "saldremos"),
        ("saber", "pres", "yo", "sé"),
        ("poder", "past", "ellos", "pudieron"),
        ("querer", "past", "él", "quiso"),
        ("dar", "past", "él", "dio"),
        ("dar", "subj", "yo", "dé"),
        ("ver", "imp", "ellos", "veían"),
        ("ver", "past", "él", "vio"),
    ],
)
def test_spanish_conjugation(infinitive: str, tense: str, person: str, form: str) -> None:
    assert _spanish(infinitive).finite[tense][PERSONS[person]] == form


@pytest.mark.parametrize(
    ("infinitive", "gerund", "participle"),
    [
        ("hablar", "hablando", "hablado"),
        ("comer", "comiendo", "comido"),
        ("leer", "leyendo", "leído"),
        ("oír", "oyendo", "oído"),
        ("dormir", "durmiendo", "dormido"),
        ("pedir", "pidiendo", "pedido"),
        ("poder", "pudiendo", "podido"),
        ("ir", "yendo", "ido"),
        ("gruñir", "gruñendo", "gruñido"),
        ("escribir", "escribiendo", "escrito"),
        ("romper", "rompiendo", "roto"),
        ("abrir", "abriendo", "abierto"),
        ("descubrir", "descubriendo", "descubierto"),
        ("envolver", "envolviendo", "envuelto"),
        ("ver", "viendo", "visto"),
        ("decir", "diciendo", "dicho"),
        ("hacer", "haciendo", "hecho"),
        ("freír", "friendo", "frito"),
        ("construir", "construyendo", "construido"),
    ],
)
def test_spanish_gerunds_and_participles(infinitive: str, gerund: str, participle: str) -> None:
    verb = _spanish(infinitive)
    assert (verb.gerund, verb.participle) == (gerund, participle)


def test_an_irregular_verb_outside_the_lexicon() -> None:
    assert irregular_verb("haber").finite["pres"] == ("he", "has", "ha", "hemos", "habéis", "han")


@pytest.mark.parametrize(
    ("form", "pronoun", "joined"),
    [
        ("dormir", "se", "dormirse"),
        ("lavando", "se", "lavándose"),
        ("sienta", "te", "siéntate"),
        ("vamos", "nos", "vámonos"),
        ("reír", "se", "reírse"),
        ("di", "me", "dime"),
        ("pon", "te", "ponte"),
    ],
)
def test_pronouns_attached_to_a_verb(form: str, pronoun: str, joined: str) -> None:
    assert attach(form, pronoun) == joined


def test_sentences_are_capitalized_and_keep_speech_together() -> None:
    assert finish("¿dónde está? no lo sé.", "es") == "¿Dónde está? No lo sé."
    assert finish("ana said: “come here.”", "en") == "Ana said: “Come here.”"
    assert sentences("—¿Qué pasa? —preguntó Ana—. No veo. Luis rio.") == [
        "—¿Qué pasa? —preguntó Ana—.",
        "No veo.",
        "Luis rio.",
    ]
    assert sentences("“Run!” cried Ana. “It is late.”") == ["“Run!” cried Ana.", "“It is late.”"]
