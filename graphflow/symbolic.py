"""Sizes as symbols: numbers that remember where they come from, and what was decided by them.

A plan is made for certain sizes of the feeds, but most of what is decided on the way holds for others too. While a
plan is made, each open size is a `Symbolic`: it has the present value, and a formula over the open sizes. Arithmetic
gives formulas. Whoever wants to know more, by comparing or by turning it into a plain number, gets the present answer,
and the `Sizes` note a *guard*: the question and its answer. For other sizes that answer every question alike, the
very same decisions would be made: what was made for the first holds for them, its numbers evaluated anew.

Nothing gets past this by accident: a Symbolic is no int, so that whatever needs one asks `__index__`, which notes that
the size must stay what it is.

Formulas are sums of products of atoms (the open sizes, and operations that no sum can spell) in one normal form, so
that equal ones are the same object, and most questions about a single size come down to bounds on it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from graphflow.records import dataclass

__all__ = [
    "Derived",
    "Evaluation",
    "Formulas",
    "Sizes",
    "Symbolic",
    "about",
    "ceil_div",
    "greatest",
    "is_symbolic",
    "least",
    "now",
]

Array = np.ndarray[Any, Any]

Terms = tuple[tuple[tuple[int, ...], Any], ...]
"""A sum: (numbers of atoms, factor) each, in ascending order. Factors of whole numbers are whole, or fractions where
the whole is known to be divisible."""

_LESS, _AT_MOST, _EQUAL = range(3)
_FAR = 16  # how many times more or less than a limit is another kind of size
_QUESTIONS: tuple[Callable[[Any, Any], bool], ...] = (operator.lt, operator.le, operator.eq)


def now(number: Any) -> Any:
    """Returns the present value of a number, symbolic or not; for what is decided anew for each sizes."""
    return number.hint if type(number) is Symbolic else number


def least(*numbers: Any) -> Any:
    """Returns the least of some numbers; of symbolic ones without asking which it is."""
    return _folded("min", min, numbers)


def greatest(*numbers: Any) -> Any:
    """Returns the greatest of some numbers; of symbolic ones without asking which it is."""
    return _folded("max", max, numbers)


def _folded(name: str, function: Callable[[Any, Any], Any], numbers: Sequence[Any]) -> Any:
    result = numbers[0]
    for number in numbers[1:]:
        difference = result - number
        if type(difference) is not Symbolic:
            result = function(result, number)
            continue
        low, high = difference.sizes._range(difference.terms)
        if low >= 0 or high <= 0:  # whatever the sizes are
            result = (number if low >= 0 else result) if name == "min" else (result if low >= 0 else number)
        else:
            bound = function(_low(result), _low(number))
            result = difference.sizes.operation(name, function, result, number, bound)
    return result


def about(number: Any, limit: int) -> bool:
    """Whether a number is at least a limit, where that is right or wrong by degrees.

    Of a symbolic number it is said of the present value, and holds for others that are not far beyond the limit: so
    there is one way for all ordinary sizes, and another only for sizes of another kind.
    """
    if type(number) is not Symbolic:
        return bool(number >= limit)
    if number.hint >= limit:
        return bool(number * _FAR >= limit)
    return bool(number >= limit * _FAR)


def ceil_div(a: Any, b: Any) -> Any:
    """Returns the quotient of a number that is not negative by a positive one, rounded up."""
    symbolic = a if type(a) is Symbolic else b
    if type(symbolic) is not Symbolic:
        return -(-a // b)
    if type(b) is int and b == 1 and type(now(a)) is int:
        return a
    return symbolic.sizes.operation("ceil", lambda x, y: -(-x // y), a, b, 1 if _low(a) >= 1 else 0)


def is_symbolic(number: Any) -> bool:
    """Whether a number is a symbolic one; type checkers take it for an int."""
    return type(number) is Symbolic


@dataclass(slots=True)
class _Atom:
    """Something that sums are made of: an open size, or what `compute` makes of other numbers.

    low, high: the values that it may have, as far as questions have been about it alone. excluded: some inside that
    it may not have. quotient, remainder: the number and the plain divisor, where it is such a one.
    """

    compute: Callable[[Evaluation], Any] | None
    low: float = 0
    high: float = math.inf
    excluded: set[int] | None = None
    quotient: tuple[Symbolic, int] | None = None
    remainder: tuple[Symbolic, int] | None = None


class Sizes:
    """The open sizes of one plan that is being made, and what has been decided by them.

    Attributes:
      by_form: whether a number that may still differ is taken to differ from every fixed one but 0, unasked. So code
        is chosen that is right for either.
    """

    def __init__(self) -> None:
        self._atoms: list[_Atom] = []
        self._open: list[int] = []  # which atoms are open sizes
        self._known: dict[tuple[Terms, bool], Symbolic] = {}  # by formula, and whether it is one of floats
        self._operations: dict[Any, Symbolic] = {}
        self._answers: dict[tuple[Terms, int], bool] = {}
        self._guards: dict[tuple[Terms, int], tuple[Symbolic, bool]] = {}
        self._divisible: set[tuple[Terms, int]] = set()
        self._arrays: dict[Hashable, tuple[Array, Callable[[Evaluation], Array]]] = {}
        self._closed = False
        self.by_form = False

    def symbol(self, hint: int, least: int = 0) -> Symbolic:
        """Returns a new open size.

        Args:
          hint: its present value.
          least: the least value that it may have.
        """
        self._open.append(len(self._atoms))
        return self._atom(None, hint, least)

    def computed(self, compute: Callable[[Evaluation], Any], hint: Any) -> Symbolic:
        """Returns a number that a function of an evaluation gives."""
        return self._atom(compute, hint, -math.inf)

    def _atom(self, compute: Callable[[Evaluation], Any] | None, hint: Any, low: float) -> Symbolic:
        number = len(self._atoms)
        self._atoms.append(_Atom(compute, low))
        terms: Terms = (((number,), 1),)
        made = self._known[terms, False] = Symbolic(self, terms, hint)
        return made

    def is_computed(self, atom: int) -> bool:
        """Whether an atom is no open size, but what a function makes of other numbers."""
        return self._atoms[atom].compute is not None

    # Arithmetic.

    def sum(self, terms: dict[tuple[int, ...], Any], hint: Any) -> Any:
        """Returns the number with these terms: plain where no atom is left."""
        left = {atoms: factor for atoms, factor in terms.items() if factor}
        if not left:
            return 0
        if len(left) == 1 and () in left:
            return left[()]
        key: Terms = tuple(sorted(left.items()))
        of_floats = type(hint) is float
        found = self._known.get((key, of_floats))
        if found is None:
            found = self._known[key, of_floats] = Symbolic(self, key, hint)
        return found

    def operation(
        self, name: str, function: Callable[[Any, Any], Any], a: Any, b: Any, low: float | None = None
    ) -> Symbolic:
        """Returns what no sum can spell, such as a quotient, as an atom; `low` is the least value that it may have."""
        key = (name, _key(a), _key(b))
        found = self._operations.get(key)
        if found is None:
            found = self.computed(lambda at: function(at(a), at(b)), function(now(a), now(b)))
            self._operations[key] = found
            atom = self._atoms[found.terms[0][0][0]]
            if low is None and _low(a) >= 0 and _low(b) >= 0:
                low = 0
            atom.low = -math.inf if low is None else low
            if type(b) is int and b > 0 and type(a) is Symbolic:
                atom.quotient = (a, b) if name == "//" else None
                atom.remainder = (a, b) if name == "%" else None
        return found

    # Questions.

    def answer(self, difference: Symbolic, question: int) -> bool:
        """Whether a number is negative, not positive, or zero: now, and for all sizes that the guards let in."""
        terms = difference.terms
        found = self._answers.get((terms, question))
        if found is None:
            found = self._answered(difference, question)
            self._answers[terms, question] = found
        return found

    def _answered(self, difference: Symbolic, question: int) -> bool:
        if self._closed:
            raise RuntimeError(f"{difference} is asked about when all has been decided")
        answer = bool(_QUESTIONS[question](difference.hint, 0))
        low, high = self._range(difference.terms)
        if question == _LESS and (high < 0 or low >= 0):
            return answer
        if question == _AT_MOST and (high <= 0 or low > 0):
            return answer
        if question == _EQUAL and (low > 0 or high < 0):
            return answer
        if question == _EQUAL and low == high == 0:
            return True
        self._note(difference, question, answer)
        return answer

    def divides(self, number: Symbolic, divisor: Any) -> bool:
        """Whether it is known that a number can be divided."""
        return type(divisor) is int and _reduced(number, divisor) in self._divisible

    def _note(self, difference: Any, question: int, answer: bool) -> None:
        if type(difference) is Symbolic and not self._bound(difference, question, answer):
            self._guards[difference.terms, question] = difference, answer

    def _range(self, terms: Terms) -> tuple[float, float]:
        low = high = 0.0
        for atoms, factor in terms:
            least, most = 1.0, 1.0
            for number in atoms:
                atom = self._atoms[number]
                if atom.low < 0:
                    return -math.inf, math.inf
                least *= atom.low
                most = most * atom.high if atom.high else 0.0
            low += factor * (least if factor > 0 else most)
            high += factor * (most if factor > 0 else least)
        return low, high

    def _bound(self, difference: Symbolic, question: int, answer: bool) -> bool:
        """Notes an answer about one open size alone, or a quotient of it, as a bound on it; says whether it was one."""
        *constant, (atoms, factor) = difference.terms
        if len(atoms) != 1 or len(constant) > 1 or (constant and constant[0][0] != ()):
            return False
        atom = self._atoms[atoms[0]]
        if question == _EQUAL and answer and not constant and atom.remainder is not None:
            self._divisible.add(_reduced(*atom.remainder))
        if atom.compute is not None and (atom.quotient is None or question == _EQUAL):
            return False
        rest = constant[0][1] if constant else 0
        if question == _EQUAL:
            exact = isinstance(rest, int) and isinstance(factor, int)
            at = -rest / factor
            if answer:
                atom.low = atom.high = self._known[((atoms, 1),), False].hint
            elif exact and rest % factor == 0:
                atom.excluded = {*(atom.excluded or ()), -rest // factor}
            elif not exact and at == int(at):
                atom.excluded = {*(atom.excluded or ()), int(at)}
            return True
        # factor * size + rest < 0, or the contrary: above or below a threshold, which may itself belong to either.
        at = (
            -rest // factor
            if isinstance(rest, int) and isinstance(factor, int)
            else math.floor(-rest / factor)
        )
        whole = factor * at + rest == 0
        below = (factor > 0) == answer
        inside = (question == _AT_MOST) == answer  # whether the threshold itself belongs to the answer
        most, least = (at - 1 if whole and not inside else at), (at if whole and inside else at + 1)
        if atom.quotient is not None:
            number, divisor = atom.quotient
            self._note(number - divisor * ((most + 1) if below else least), _LESS, below)
        elif below:
            atom.high = min(atom.high, most)
        else:
            atom.low = max(atom.low, least)
        return True

    def pin(self, number: Symbolic) -> Any:
        """Returns a number's present value, which it must keep."""
        self.answer_equal(number, number.hint)
        return number.hint

    def answer_equal(self, a: Symbolic, b: Any) -> bool:
        """Whether two numbers are equal."""
        difference = a - b
        return self.answer(difference, _EQUAL) if type(difference) is Symbolic else difference == 0

    def stays(self, key: Hashable, hint: Array, make: Callable[[Evaluation], Array]) -> None:
        """Notes that an array must stay what it is."""
        self._arrays.setdefault(key, (hint, make))

    def close(self) -> None:
        """Says that all has been decided: from here on, what asks a new question is at fault."""
        self._closed = True

    # Other sizes.

    def at(self, values: Sequence[int]) -> Evaluation | None:
        """Returns what gives every number for these open sizes; None where a question has another answer."""
        for number, value in zip(self._open, values, strict=True):
            atom = self._atoms[number]
            if not atom.low <= value <= atom.high or (atom.excluded and value in atom.excluded):
                return None
        found = self.evaluation(values)
        for (_, question), (difference, answer) in self._guards.items():
            if bool(_QUESTIONS[question](found(difference), 0)) is not answer:
                return None
        for hint, make in self._arrays.values():
            array = make(found)
            if array.shape != hint.shape or array.tobytes() != hint.tobytes():
                return None
        return found

    def evaluation(self, values: Sequence[int]) -> Evaluation:
        """Returns what gives every number for these open sizes, whatever has been decided."""
        return Evaluation(self._atoms, self._open, values)

    def describe(self) -> str:
        """Returns the guards, one per line."""
        lines = []
        for number in self._open:
            atom = self._atoms[number]
            without = f" without {sorted(atom.excluded)}" if atom.excluded else ""
            lines.append(f"{atom.low:g} <= s{number} <= {atom.high:g}{without}")
        for (_, question), (difference, answer) in self._guards.items():
            lines.append(f"{'' if answer else 'not '}{difference} {('<', '<=', '==')[question]} 0")
        return "\n".join(lines)


class Evaluation:
    """The value of every number for certain open sizes: a function from numbers to plain ones."""

    __slots__ = ("_atoms", "_compute", "_known")

    def __init__(self, atoms: Sequence[_Atom], open_: Sequence[int], values: Sequence[int]) -> None:
        self._atoms: dict[int, Any] = dict(zip(open_, values, strict=True))
        self._compute = atoms
        self._known: dict[int, Any] = {}  # by the number's id: `Sizes` keep their numbers

    def __call__(self, number: Any) -> Any:
        """Returns the value of a number; a plain one is its own."""
        if type(number) is not Symbolic:
            return number
        found = self._known.get(id(number))
        if found is None:
            total = 0
            for atoms, factor in number.terms:
                for atom in atoms:
                    factor = factor * self._atom(atom)
                total += factor
            found = self._known[id(number)] = _whole(total)
        return found

    def _atom(self, number: int) -> Any:
        value = self._atoms.get(number)
        if value is None:
            compute = self._compute[number].compute
            assert compute is not None
            value = self._atoms[number] = compute(self)
        return value

    def all(self, numbers: Sequence[Any]) -> tuple[Any, ...]:
        """Returns the values of several numbers."""
        return tuple([number if type(number) is not Symbolic else self(number) for number in numbers])

    def shape(self, shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
        """Returns the sizes of a shape; None for None."""
        return None if shape is None else self.all(shape)


class Formulas:
    """Many numbers, symbolic and plain, that are evaluated together: a plan has thousands of them.

    dtype: of the arrays that come out, int64 or float64.
    """

    def __init__(self, numbers: Sequence[Any], dtype: Any = np.int64) -> None:
        self._dtype = np.dtype(dtype)
        whole = self._dtype.kind == "i"
        products: dict[tuple[int, ...], int] = {}
        rows: dict[int, int] = {}  # by the number's id: `Sizes` keep their numbers
        self._numbers: list[Symbolic] = []
        self._apart: list[tuple[int, Symbolic]] = []  # that are no sums of whole numbers: where, and which
        starts: list[int] = []
        factors: list[Any] = []
        columns: list[int] = []
        places: list[int] = []
        which: list[int] = []
        fixed: list[Any] = []
        for place, number in enumerate(numbers):
            if type(number) is not Symbolic:
                fixed.append(number)
                continue
            fixed.append(0)
            if whole and any(factor.__class__ is not int for _, factor in number.terms):
                self._apart.append((place, number))
                continue
            row = rows.get(id(number))
            if row is None:
                row = rows[id(number)] = len(starts)
                self._numbers.append(number)
                starts.append(len(factors))
                for atoms, factor in number.terms:
                    columns.append(products.setdefault(atoms, len(products)))
                    factors.append(factor)
            places.append(place)
            which.append(row)
        self._fixed = np.array(fixed, self._dtype)
        self._products = list(products)
        self._most = max(map(abs, factors), default=0) * max(1, len(products))
        try:
            self._factors = np.array(factors, self._dtype)
        except OverflowError:
            self._most = _BEYOND
        self._columns, self._starts = np.array(columns, np.int64), np.array(starts, np.int64)
        self._places, self._which = np.array(places, np.int64), np.array(which, np.int64)

    def at(self, sizes: Evaluation) -> Array:
        """Returns the values for certain sizes."""
        found = self._fixed.copy()
        if self._numbers:
            products = [math.prod([sizes._atom(atom) for atom in atoms]) for atoms in self._products]
            if self._dtype.kind == "i" and self._most * max(map(abs, products)) >= _BEYOND:
                values = np.array(sizes.all(self._numbers), self._dtype)
            else:
                terms = self._factors * np.array(products, self._dtype)[self._columns]
                values = np.add.reduceat(terms, self._starts)
            found[self._places] = values[self._which]
        for place, number in self._apart:
            found[place] = sizes(number)
        return found


_BEYOND = 1 << 62


def _reduced(number: Symbolic, divisor: int) -> tuple[Terms, int]:
    """A number and a divisor without what divides both: the one divides if the other does."""
    factors = [factor for _, factor in number.terms]
    if any(factor.__class__ is not int for factor in factors):
        return number.terms, divisor
    common = math.gcd(divisor, *factors)
    return tuple([(atoms, factor // common) for atoms, factor in number.terms]), divisor // common


def _whole(number: Any) -> Any:
    """A number that is no fraction, if it is none, as a plain one."""
    if number.__class__ is int or number.__class__ is float or number.denominator != 1:
        return number
    return int(number)


def _key(number: Any) -> Any:
    return (number.terms, type(number.hint)) if type(number) is Symbolic else (type(number), number)


def _low(number: Any) -> Any:
    """A bound below which no number is."""
    return number.sizes._range(number.terms)[0] if type(number) is Symbolic else number


class Symbolic:
    """A number that depends on open sizes; see the module. Equal formulas of the same `Sizes` are the same object.

    Attributes:
      sizes: what it belongs to.
      terms: the formula.
      hint: the present value.
    """

    __slots__ = ("_compared", "_hash", "_made", "hint", "sizes", "terms")

    def __init__(self, sizes: Sizes, terms: Terms, hint: Any) -> None:
        self.sizes = sizes
        self.terms = terms
        self.hint = hint
        self._hash = hash((terms, type(hint)))
        self._made: dict[Any, Any] = {}  # results of arithmetic, by operation and operand
        self._compared: dict[Any, bool] = {}

    # Arithmetic. Operands are few and come again and again: results are remembered.

    def _remembered(self, name: str, other: Any, make: Callable[[Any], Any]) -> Any:
        kind = other.__class__
        if kind is Symbolic:
            key: Any = (name, id(other))  # `Sizes` keep their numbers
        elif kind is int or kind is float:
            key = (name, kind, other)
        elif isinstance(other, np.generic | bool):
            return self._remembered(name, other.item() if isinstance(other, np.generic) else int(other), make)
        else:
            return NotImplemented
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = make(other)
        return found

    def _sum(self, other: Any) -> Any:
        terms = dict(self.terms)
        for atoms, factor in other.terms if other.__class__ is Symbolic else (((), other),):
            terms[atoms] = _whole(terms.get(atoms, 0) + factor)
        return self.sizes.sum(terms, self.hint + now(other))

    def _product(self, other: Any) -> Any:
        if other.__class__ is not Symbolic:
            terms = {atoms: _whole(factor * other) for atoms, factor in self.terms}
        else:
            terms = {}
            for mine, factor in self.terms:
                for theirs, times in other.terms:
                    atoms = tuple(sorted(mine + theirs)) if mine and theirs else mine or theirs
                    terms[atoms] = _whole(terms.get(atoms, 0) + factor * times)
        return self.sizes.sum(terms, self.hint * now(other))

    def _exact(self, other: Any) -> Any:
        """The quotient where each term has one; None where that is not so."""
        if self.hint.__class__ is not int:
            return None
        if other.__class__ is int and other and all(factor % other == 0 for _, factor in self.terms):
            return self.sizes.sum({a: factor // other for a, factor in self.terms}, self.hint // other)
        if other.__class__ is not Symbolic or len(other.terms) != 1:
            return None
        ((divisor, by),) = other.terms
        terms: dict[tuple[int, ...], Any] = {}
        for atoms, factor in self.terms:
            left = list(atoms)
            for atom in divisor:
                if atom not in left:
                    return None
                left.remove(atom)
            if by.__class__ is float or factor.__class__ is float or factor % by:
                return None
            terms[tuple(left)] = factor // by
        # Nothing is divided by zero: that is asked, and noted.
        return self.sizes.sum(terms, self.hint // other.hint) if other != 0 else None

    def _quotient(self, other: Any) -> Any:
        exact = self._exact(other)
        if exact is None and self.sizes.divides(self, other):
            from fractions import Fraction  # takes longer to load than most plans to make, and few need it

            terms = {atoms: _whole(Fraction(factor, other)) for atoms, factor in self.terms}
            exact = self.sizes.sum(terms, self.hint // other)
        return self.sizes.operation("//", operator.floordiv, self, other) if exact is None else exact

    def _rest(self, other: Any) -> Any:
        if self._exact(other) is not None or self.sizes.divides(self, other):
            return 0
        return self.sizes.operation("%", operator.mod, self, other)

    def _ratio(self, other: Any) -> Any:
        if other.__class__ is Symbolic or not other:
            return self.sizes.operation("/", operator.truediv, self, other)
        return self * (1.0 / other)  # up to rounding: such numbers only weigh one thing against another

    def __add__(self, other: Any) -> Any:
        return self._remembered("+", other, self._sum)

    __radd__ = __add__

    def __mul__(self, other: Any) -> Any:
        return self._remembered("*", other, self._product)

    __rmul__ = __mul__

    def __neg__(self) -> Any:
        return self * -1

    def __pos__(self) -> Any:
        return self

    def __sub__(self, other: Any) -> Any:
        return self._remembered("-", other, lambda o: self + o * -1)

    def __rsub__(self, other: Any) -> Any:
        return self * -1 + other

    def __floordiv__(self, other: Any) -> Any:
        return self._remembered("//", other, self._quotient)

    def __rfloordiv__(self, other: Any) -> Any:
        return self.sizes.operation("//", operator.floordiv, other, self)

    def __mod__(self, other: Any) -> Any:
        return self._remembered("%", other, self._rest)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __rmod__(self, other: Any) -> Any:
        return self.sizes.operation("%", operator.mod, other, self)

    def __truediv__(self, other: Any) -> Any:
        return self._remembered("/", other, self._ratio)

    def __rtruediv__(self, other: Any) -> Any:
        return self.sizes.operation("/", operator.truediv, other, self)

    def __abs__(self) -> Any:
        return -self if self < 0 else self

    # Questions.

    def _ask(self, other: Any, question: int, swapped: bool = False) -> Any:
        kind = other.__class__
        if kind is not int and kind is not Symbolic and not isinstance(other, float | bool | np.generic):
            return NotImplemented
        key = (question, swapped, kind, id(other) if kind is Symbolic else other)
        known = self._compared.get(key)
        if known is not None:
            return known
        difference = self - other
        if swapped:
            difference = difference * -1
        if difference.__class__ is Symbolic:
            known = self.sizes.answer(difference, question)
        else:
            known = _QUESTIONS[question](difference, 0)
        self._compared[key] = known
        return known

    def __eq__(self, other: object) -> Any:
        if other is self:
            return True
        if other is None or other.__class__ is str:
            return False
        if other.__class__ is int and other > 0 and self.sizes.by_form:
            low, high = self.sizes._range(self.terms)
            return low == high == other
        return self._ask(other, _EQUAL)

    def __ne__(self, other: object) -> Any:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    def __lt__(self, other: Any) -> Any:
        return self._ask(other, _LESS)

    def __le__(self, other: Any) -> Any:
        return self._ask(other, _AT_MOST)

    def __gt__(self, other: Any) -> Any:
        return self._ask(other, _LESS, True)

    def __ge__(self, other: Any) -> Any:
        return self._ask(other, _AT_MOST, True)

    def __bool__(self) -> bool:
        return bool(self != 0)

    def __hash__(self) -> int:
        # By the formula, whatever the sizes are: what dictionaries share by it is equal for all.
        return self._hash

    # What gives the number away.

    def __index__(self) -> int:
        pinned: int = self.sizes.pin(self)
        return operator.index(pinned)

    def __int__(self) -> int:
        return int(self.sizes.pin(self))

    def __float__(self) -> float:
        return float(self.sizes.pin(self))

    def __round__(self, digits: int | None = None) -> Any:
        return round(self.sizes.pin(self), digits)

    def __str__(self) -> str:
        shown = []
        for atoms, factor in self.terms:
            names = [f"s{atom}" for atom in atoms]
            shown.append("*".join([str(factor), *names] if factor != 1 or not names else names))
        return "+".join(shown)

    __repr__ = __str__


@dataclass(frozen=True, slots=True, eq=False)
class Derived:
    """An array that open sizes decide: what stands in a program where a constant would, were the sizes fixed.

    Attributes:
      sizes: the open sizes.
      hint: the present array.
      make: gives the array for other sizes.
      numbers: the elements as symbolic and plain numbers, in an array of objects; None where they are not known so.
      key: what it is made of: equal ones are equal for all sizes.
    """

    sizes: Sizes
    hint: Array
    make: Callable[[Evaluation], Array]
    numbers: Array | None
    key: Hashable

    @classmethod
    def of(cls, sizes: Sizes, numbers: Any, dtype: Any) -> Derived:
        """Returns the array that holds these integers, some of them symbolic."""
        objects = np.array(numbers, dtype=object)
        flat = objects.reshape(-1).tolist()
        hint = np.array([now(number) for number in flat], dtype).reshape(objects.shape)

        def make(at: Evaluation) -> Array:
            return np.array(at.all(flat), dtype).reshape(objects.shape)

        key = (hint.dtype.str, objects.shape, *map(_key, flat))
        return cls(sizes, hint, make, objects, key)

    @classmethod
    def holding(cls, numbers: Any, dtype: Any) -> Derived | Array:
        """Returns the array that holds these integers: for other sizes anew, where some are symbolic."""
        objects = np.array(numbers, dtype=object)
        symbolic = next((n for n in objects.reshape(-1).tolist() if type(n) is Symbolic), None)
        return np.array(numbers, dtype) if symbolic is None else cls.of(symbolic.sizes, objects, dtype)

    @classmethod
    def made_of(cls, number: Any, function: Callable[[Any], Any], dtype: Any) -> Derived | Array:
        """Returns what a function makes of a number as a scalar array: for other sizes anew, where it is symbolic.

        The function is one of a kind: two that are equal by qualified name do the same.
        """
        if type(number) is not Symbolic:
            return np.array(function(number), dtype)
        hint = np.array(function(number.hint), dtype)
        key = (function.__module__, function.__qualname__, hint.dtype.str, _key(number))
        return cls(number.sizes, hint, lambda at: np.array(function(at(number)), dtype), None, key)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, which no sizes change."""
        shape: tuple[int, ...] = self.hint.shape
        return shape

    @property
    def known(self) -> Array:
        """The elements as far as one may look at them: numbers, or the present ones, which they must stay then."""
        if self.numbers is not None:
            return self.numbers
        self.sizes.stays(self.key, self.hint, self.make)
        return self.hint
