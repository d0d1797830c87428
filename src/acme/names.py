"""The people's names, and the bijection between a number and an address.

No table of addresses exists: `name_of` and `number_at` are each other's inverse, so that a company of a
million finds anybody by address at once. That rests on two facts the tests keep: all names differ once they
are spelled in plain letters, and no given name is also a family name (aliases turn the two around).
"""

import re
import unicodedata
from collections.abc import Iterator
from math import gcd
from typing import NamedTuple

_GIVEN = """
Aaliyah Adaeze Aditi Agnieszka Aiko Aino Aisha Alejandra Aleksander Alessia Amara Amélie Amina Anaïs
Anders Andrzej Anjali Anneke Arjun Arthur Astrid Ayşe Bartosz Beatriz Bjørn Bogdan Brigitte Camila
Carlos Carmen Catarina Cécile Chiara Chidi Chloé Claire Cristina Daan Dagmar Daniela Deepa Diego Dimitri
Dorota Edward Eilidh Elena Élise Elżbieta Emeka Emil Emily Enrique Esra Eszter Eva Fabio Fatima Felipe
Fernanda Filip Fiona Florian Françoise Freya Gabriela Gareth Giulia Grace Greta Grzegorz Guadalupe Gwen
Hanna Harriet Haruto Hassan Héctor Helena Hiroshi Hye-jin Ibrahim Imani Inès Ingrid Isabela Ivana Jakub
Jasmine Javier Jelena Jens Ji-woo Joana Jürgen Kaito Karolina Katarzyna Kateřina Kavya Keiko Khalid
Kwame Lakshmi Leïla Léo Liam Linnea Lucía Ludovica Łukasz Maëlle Magnus Małgorzata Mansour Marek Márta
Matilda Matteo Mbali Mei Mehmet Mikkel Milica Minh Miriam Mohammed Nadia Naoko Nia Niamh Nikolai Nneka
Noémie Nuria Oksana Olivia Olumide Omar Oskar Paola Pedro Petra Pooja Priya Quentin Rafael Rania Renata
Rohan Rosa Ruth Sakura Salma Sander Sanne Santiago Saoirse Seán Sebastião Selin Simone Siobhán Sofía
Søren Stefan Sunita Svetlana Tadeusz Tamar Tariq Tatiana Thandi Théo Tiago Tomáš Ulrike Valentina Vikram
Wanjiru Wei Xavier Yara Yasmin Yuki Yusuf Zanele Zofia Zoë Zuzana
"""
_FAMILY = """
Abdi, Abe, Achterberg, Adebayo, Agarwal, Aguilar, Ahlström, Akpan, Almeida, Álvarez, Andersson, Andrade,
Antonov, Araújo, Arslan, Baker, Banerjee, Baptista, Barros, Bauer, Becker, Bélanger, Benítez, Bergström,
Bertrand, Bianchi, Boateng, Bondarenko, Bouchard, Brandt, Brennan, Çelik, Chaudhary, Chen, Chukwu,
Cohen, Colombo, Costa, Coulibaly, Cruz, Dąbrowski, Dahl, Das, De Boer, De la Cruz, De Vries, Delgado,
Demir, Desai, Diallo, Díaz, Dlamini, Doyle, Dubois, Dupont, Dvořák, Eriksen, Esposito, Evans, Farouk,
Fernandes, Ferrari, Fischer, Fontaine, Fournier, Fujita, Gagnon, Gallagher, García, Gauthier, Ghosh,
Gómez, Gonçalves, Górski, Greco, Guzmán, Haddad, Hakimi, Hansen, Hashimoto, Hernández, Hofmann, Horváth,
Hosseini, Hussain, Ibáñez, Ito, Ivanova, Jansen, Janssens, Jiménez, Johansson, Jovanović, Kaczmarek,
Kamau, Kapoor, Karlsson, Kaya, Keller, Kelly, Khan, Kimura, Kobayashi, Koç, Kovačević, Kowalski, Krause,
Krüger, Kumar, Kwan, Lachance, Larsen, Lefèvre, Lehmann, Leroy, Lewandowski, Lindholm, López, Lund,
MacLeod, Mahlangu, Mancini, Marchetti, Martínez, Mäkinen, Mazur, McCarthy, Medina, Mehta, Mendes,
Mensah, Meyer, Moreau, Moreno, Mori, Moyo, Müller, Muñoz, Murphy, Mutua, Nakamura, Ndiaye, Németh,
Nguyen, Nielsen, Nkosi, Novák, Núñez, O’Brien, O’Sullivan, Öberg, Oduya, Okafor, Okonkwo, Olsen, Ortiz,
Osei, Otieno, Özdemir, Paquette, Park, Patel, Pawlak, Pereira, Petrov, Pham, Pinto, Popescu, Prasad,
Quispe, Rahman, Ramírez, Rao, Reyes, Ribeiro, Ricci, Rinaldi, Roberts, Rojas, Romano, Rossi, Rousseau,
Saito, Salazar, Sánchez, Sato, Savić, Schäfer, Schneider, Schröder, Sharma, Silva, Simões, Singh, Šimić,
Smith, Sokolov, Sørensen, Soto, Strand, Suárez, Suzuki, Svensson, Szabó, Takahashi, Tanaka, Taylor,
Teixeira, Thapa, Thompson, Torres, Tóth, Tran, Traoré, Tremblay, Usman, Van den Berg, Van Dijk, Vargas,
Vasconcelos, Vasquez, Vinter, Visser, Vogel, Wagner, Walsh, Wang, Weber, Weiß, Wójcik, Wood, Wright, Wu,
Yamamoto, Yilmaz, Young, Zając, Zhang, Zielińska, Zimmermann
"""
GIVEN = tuple(_GIVEN.split())
FAMILY = tuple(name.strip() for name in _FAMILY.split(","))
_LETTERS = str.maketrans({"ł": "l", "ø": "o", "ß": "ss", "æ": "ae", "đ": "d", "ı": "i"})


def plain(name: str) -> str:
    """`Łukasz` → `lukasz`, `De la Cruz` → `delacruz`: a name as it stands in an address."""
    letters = unicodedata.normalize("NFKD", name.lower().translate(_LETTERS))
    return "".join(letter for letter in letters if "a" <= letter <= "z")


GIVEN_PLAIN = tuple(plain(name) for name in GIVEN)
FAMILY_PLAIN = tuple(plain(name) for name in FAMILY)
_GIVEN_AT = {name: place for place, name in enumerate(GIVEN_PLAIN)}
_FAMILY_AT = {name: place for place, name in enumerate(FAMILY_PLAIN)}
_PAIRS = len(GIVEN) * len(FAMILY)
_LOCAL_PART = re.compile(r"([a-z]+)\.([a-z]+)([1-9][0-9]{0,6})?")

# Near the golden section of the pairs, so that neighbours get unlike names; the step must share no divisor
# with the pairs for the walk to visit every pair once.
_STRIDE = next(step for step in range(int(_PAIRS * 0.618), _PAIRS) if gcd(step, _PAIRS) == 1)
_STRIDE_BACK = pow(_STRIDE, -1, _PAIRS)


class Name(NamedTuple):
    given: int
    """Place in GIVEN."""
    family: int
    """Place in FAMILY."""
    lap: int
    """How often all pairs were used up before: 0 for the first `anna.nowak`, 1 for `anna.nowak2`."""

    @property
    def address(self) -> str:
        return f"{GIVEN_PLAIN[self.given]}.{FAMILY_PLAIN[self.family]}{_suffix(self.lap)}"

    @property
    def reversed_address(self) -> str:
        return f"{FAMILY_PLAIN[self.family]}.{GIVEN_PLAIN[self.given]}{_suffix(self.lap)}"


def name_of(number: int, seed: int) -> Name:
    lap, step = divmod(number, _PAIRS)
    given, family = divmod((step * _STRIDE + seed * 7919) % _PAIRS, len(FAMILY))
    return Name(given, family, lap)


def number_at(local_part: str, seed: int) -> int | None:
    """The number whose `address` or `reversed_address` this is."""
    match = _LOCAL_PART.fullmatch(local_part)
    if match is None:
        return None
    first, second, digits = match.groups()
    given, family = (first, second) if first in _GIVEN_AT else (second, first)
    if given not in _GIVEN_AT or family not in _FAMILY_AT or digits == "1":
        return None
    step = _step_of(_GIVEN_AT[given], _FAMILY_AT[family], seed)
    return (int(digits) - 1 if digits else 0) * _PAIRS + step


def numbers_starting(prefix: str, seed: int, end: int, *, is_reversed: bool = False) -> Iterator[int]:
    """Numbers below `end` whose `address` (or `reversed_address`) begins so, in no order.

    Found from the names, without walking through everybody. A prefix that goes on after both names finds
    all who share the two.
    """
    names = (FAMILY_PLAIN, GIVEN_PLAIN) if is_reversed else (GIVEN_PLAIN, FAMILY_PLAIN)
    for first, second in _pairs_starting(prefix, *names):
        given, family = (second, first) if is_reversed else (first, second)
        yield from range(_step_of(given, family, seed), end, _PAIRS)


def _pairs_starting(
    prefix: str, firsts: tuple[str, ...], seconds: tuple[str, ...]
) -> Iterator[tuple[int, int]]:
    """Places of names that make `first.second` begin with the prefix, or the prefix with it."""
    for at, first in enumerate(firsts):
        start = first + "."
        if start.startswith(prefix):
            yield from ((at, place) for place in range(len(seconds)))
        elif prefix.startswith(start):
            rest = prefix.removeprefix(start)
            yield from (
                (at, place)
                for place, second in enumerate(seconds)
                if second.startswith(rest) or rest.startswith(second)
            )


def _step_of(given: int, family: int, seed: int) -> int:
    return (given * len(FAMILY) + family - seed * 7919) * _STRIDE_BACK % _PAIRS


def _suffix(lap: int) -> str:
    return str(lap + 1) if lap else ""
