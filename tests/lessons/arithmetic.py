"""Reads the sums that a text writes out, such as `1 − 0.95¹⁰ ≈ 0.40`, and calculates them again."""

from __future__ import annotations

import math
import re

_POWERS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_POWER = "[⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+"
_ATOM = rf"√?\(*[−-]?(?:log |√)?\(?(?:{_NUMBER})(?:{_POWER})?\)*(?:{_POWER})?"
_TERM = rf"[−-]?{_ATOM}(?: ?[·×/+−*-] ?[−-]?{_ATOM})*"
_EQUATION = re.compile(
    rf"(?<![\w.,^)(·/])({_TERM}) ?(?P<sign>[=≈]) ?(?P<shown>[−-]?(?:{_NUMBER}))(?P<percent> ?%)?(?![\w(·^])"
)
_SUM = re.compile(rf"(?<![\w.,^])({_TERM})(?![\w^])")


def value(expression: str) -> float:
    """Calculates an expression as a text writes it: `2·√(0.98·0.02/10,000)`, `−log 0.5`, `0.25¹²`."""
    text = re.sub(rf"({_POWER})", lambda found: f"**({found[1].translate(_POWERS)})", expression)
    text = text.replace(",", "").replace("−", "-").replace("·", "*").replace("×", "*")
    text = re.sub(r"log (\d+(?:\.\d+)?)", r"log(\1)", text)
    text = re.sub(r"√(\d+(?:\.\d+)?)", r"sqrt(\1)", text).replace("√", "sqrt")
    text = re.sub(r"(?<![\d.])0+(?=\d)", "", text)
    return float(eval(text, {"__builtins__": {}}, {"sqrt": math.sqrt, "log": math.log}))


def equations(text: str) -> list[tuple[str, str, str]]:
    """Returns left side, right side and percent sign of each sum with its result."""
    found = []
    for match in _EQUATION.finditer(text):
        left = match[1]
        if left.count("(") > left.count(")"):  # a bracket of the sentence
            left = left.removeprefix("(")
        if left.count("(") == left.count(")") and not re.fullmatch(rf"[−-]?(?:{_NUMBER})", left):
            found.append((left, match["shown"], match["percent"] or ""))
    return found


def written_out(text: str) -> list[float]:
    """Returns the values of the sums in a text whose result is not written beside them."""
    found = []
    for match in _SUM.finditer(text):
        left = match[1].removeprefix("(") if match[1].count("(") > match[1].count(")") else match[1]
        alone = not re.match(r" ?[=≈]", text[match.end() :]) and not re.search(
            r"[=≈] ?$", text[: match.start()]
        )
        if alone and left.count("(") == left.count(")") and not re.fullmatch(rf"[−-]?(?:{_NUMBER})", left):
            found.append(value(left))
    return found


def agrees(left: str, shown: str, percent: str = "") -> bool:
    """Says whether a result is that of the sum, to the digits that are shown."""
    digits = len(shown.partition(".")[2])
    result = value(left) * (100 if percent else 1)
    return abs(result - value(shown)) <= 0.5001 * 10**-digits
