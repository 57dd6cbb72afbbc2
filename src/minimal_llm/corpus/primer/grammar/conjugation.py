"""Spanish verbs: regular endings, spelling and stem changes by rule, and the overrides in `words/irregular_es.yaml`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from minimal_llm.corpus.primer.grammar.spanish import stress, strip_accents, with_stress, without_needless_accent

_words = str.split

# First, second and third person singular, then plural.
Six = tuple[str, str, str, str, str, str]
Table = dict[str, Six]

FINITE = ("pres", "past", "imp", "fut", "cond", "subj", "subj_imp", "imper")
REFLEXIVE = ("me", "te", "se", "nos", "os", "se")

_PRESENT = {"ar": "o as a amos áis an", "er": "o es e emos éis en", "ir": "o es e imos ís en"}
_PAST = {"ar": "é aste ó amos asteis aron", "er": "í iste ió imos isteis ieron"}
_IMPERFECT = {"ar": "aba abas aba ábamos abais aban", "er": "ía ías ía íamos íais ían"}
_FUTURE = _words("é ás á emos éis án")
_CONDITIONAL = _words("ía ías ía íamos íais ían")
_SUBJUNCTIVE = {"ar": "e es e emos éis en", "er": "a as a amos áis an"}
_STRONG_PAST = _words("e iste o imos isteis ieron")
_STRESSED = (0, 1, 2, 5)  # the persons with a stressed stem in the present tense
_CHANGES = {"ie": ("e", "ie"), "ue": ("[ou]", "ue"), "i": ("e", "i")}
_KEEPS_C = ("mecer", "cocer", "escocer", "hacer", "decir")


class Verb:
    """The forms of a Spanish verb, without its reflexive pronoun."""

    def __init__(
        self, infinitive: str, stem: str | None = None, accent: bool = False, overrides: Mapping[str, str] | None = None
    ) -> None:
        self.infinitive = infinitive
        self._root, ending = infinitive[:-2], strip_accents(infinitive[-2:])
        self._class = ending if ending == "ar" else "er"
        self._ending = ending
        self._stem = stem
        self._accent = accent
        self._given = dict(overrides or {})
        self.finite: Table = {}
        for tense in FINITE:
            self.finite[tense] = self._tense(tense)
        self.gerund = self._given.get("ger") or self._make_gerund()
        self.participle = self._given.get("part") or self._make_participle()

    def _tense(self, tense: str) -> Six:
        if tense in self._given:
            return _six(self._given[tense].split())
        made = {
            "pres": self._present,
            "past": self._past,
            "imp": lambda: _six([self._root + e for e in _IMPERFECT[self._class].split()]),
            "fut": lambda: _six([self._future_stem() + e for e in _FUTURE]),
            "cond": lambda: _six([self._future_stem() + e for e in _CONDITIONAL]),
            "subj": self._subjunctive,
            "subj_imp": self._past_subjunctive,
            "imper": self._imperative,
        }[tense]()
        if tense not in ("pres", "past", "subj"):
            return made
        return _six([form if form in self._given.values() else without_needless_accent(form) for form in made])

    def _present(self) -> Six:
        forms = []
        for person, ending in enumerate(_PRESENT[self._ending].split()):
            root = self._stressed_root() if person in _STRESSED else self._root
            if self._is_uir() and person in _STRESSED:
                root += "y"
            forms.append((self._before("o", root) if person == 0 else root) + ending)
        if "yo" in self._given:
            forms[0] = self._given["yo"]
        if self._root.endswith(("a", "e", "o")) and self._ending == "ir":
            forms[3] = self._root + "ímos"  # oímos
        return _six(forms)

    def _past(self) -> Six:
        if "past_stem" in self._given:
            strong = self._given["past_stem"]
            endings = [*_STRONG_PAST[:5], "eron" if strong.endswith("j") else "ieron"]
            return _six([strong + ending for ending in endings])
        forms = [self._root + ending for ending in _PAST[self._class].split()]
        if self._class == "ar":
            forms[0] = self._before("e", self._root) + "é"
            return _six(forms)
        if re.search(r"[aeo]$", self._root):  # leíste, oímos
            forms = [self._root + re.sub(r"^i(?=[sm])", "í", ending) for ending in _PAST["er"].split()]
        for person in (2, 5):
            forms[person] = self._soft(forms[person][len(self._root) :])
        return _six(forms)

    def _soft(self, ending: str) -> str:
        # Third persons of the past tense, and gerund, of -er and -ir verbs: durmió, leyó, riñó.
        root = self._root
        if self._ending == "ir" and self._stem:
            root = self._change({"ie": "i", "i": "i", "ue": "u"}[self._stem])
        if re.search(r"[aeo]$", root) or self._is_uir():
            return root + "y" + ending[1:]
        if root.endswith(("ñ", "ll")):
            return root + ending[1:]
        return root + ending

    def _subjunctive(self) -> Six:
        first = self.finite["pres"][0]
        endings = _SUBJUNCTIVE[self._class].split()
        irregular_first = "yo" in self._given or self._is_uir()
        forms = []
        for person, ending in enumerate(endings):
            if person in _STRESSED or irregular_first:
                root = first[:-1]
            elif self._ending == "ir" and self._stem:
                root = self._before("o", self._change({"ie": "i", "i": "i", "ue": "u"}[self._stem]))
            else:
                root = self._before("o", self._root)
            if self._class == "ar":
                root = self._before("e", self._stressed_root() if person in _STRESSED else self._root)
            forms.append(root + ending)
        return _six(forms)

    def _past_subjunctive(self) -> Six:
        root = self.finite["past"][5][:-3]
        first_plural = root[:-1] + root[-1].translate(str.maketrans("ae", "áé"))
        return _six([root + "ra", root + "ras", root + "ra", first_plural + "ramos", root + "rais", root + "ran"])

    def _imperative(self) -> Six:
        present, subjunctive = self.finite["pres"], self.finite["subj"]
        second = self._given.get("tú", present[2])
        return _six([present[0], second, subjunctive[2], subjunctive[3], self.infinitive[:-1] + "d", subjunctive[5]])

    def _future_stem(self) -> str:
        return self._given.get("fut_stem") or strip_accents(self.infinitive)

    def _make_gerund(self) -> str:
        return self._root + "ando" if self._class == "ar" else self._soft("iendo")

    def _make_participle(self) -> str:
        if self._class == "ar":
            return self._root + "ado"
        return self._root + ("ído" if re.search(r"[aeo]$", self._root) else "ido")

    def _is_uir(self) -> bool:
        return self._ending == "ir" and self._root.endswith("u") and not self._root.endswith(("gu", "qu"))

    def _stressed_root(self) -> str:
        if self._accent:  # envío, actúo, reúno
            at = max(self._root.rfind("i"), self._root.rfind("u"))
            return self._root[:at] + {"i": "í", "u": "ú"}[self._root[at]] + self._root[at + 1 :]
        return self._change(_CHANGES[self._stem][1]) if self._stem else self._root

    def _change(self, new: str) -> str:
        old = _CHANGES[self._stem or "i"][0]
        at = [match.start() for match in re.finditer(old, self._silent_u_masked())][-1]
        if at == 0 and new in ("ie", "ue"):
            new = {"ie": "ye", "ue": "hue"}[new]
        return self._root[:at] + new + self._root[at + 1 :]

    def _silent_u_masked(self) -> str:
        return re.sub(r"(?<=[gq])u", "_", self._root) if self._root != "jug" else self._root

    def _before(self, vowel: str, root: str) -> str:
        # Adapt the spelling of the last consonant of a root so that it sounds the same before this vowel.
        if self._class == "ar":
            if vowel == "e":
                for old, new in (("gu", "gü"), ("c", "qu"), ("g", "gu"), ("z", "c")):
                    if root.endswith(old):
                        return root[: -len(old)] + new
            return root
        if root.endswith("gu") and self._ending == "ir":
            return root[:-1]
        if root.endswith("g"):
            return root[:-1] + "j"
        if root.endswith("c"):
            after_vowel = root[-2] in "aeiouáéíóú" and self.infinitive not in _KEEPS_C
            return root[:-1] + ("zc" if after_vowel else "z")
        return root


def prefixed(prefix: str, base: Verb, infinitive: str) -> Verb:
    """Return a verb that is conjugated like another one, with a prefix: sonreír, devolver, mantener."""
    verb = object.__new__(Verb)
    verb.infinitive = infinitive
    verb.finite = {tense: _six([_prefix(prefix, form) for form in forms]) for tense, forms in base.finite.items()}
    verb.gerund = _prefix(prefix, base.gerund)
    verb.participle = _prefix(prefix, base.participle)
    return verb


def attach(form: str, pronoun: str) -> str:
    """Attach a pronoun to an infinitive, gerund or imperative: dormirse, lavándose, siéntate."""
    if pronoun == "nos" and form.endswith("mos"):
        form = form[:-1]  # vámonos
    return with_stress(strip_accents(form) + pronoun, stress(form))


def _prefix(prefix: str, form: str) -> str:
    return with_stress(strip_accents(prefix + form), len(prefix) + stress(form))


def _six(forms: Sequence[str]) -> Six:
    first, second, third, fourth, fifth, sixth = forms
    return first, second, third, fourth, fifth, sixth
