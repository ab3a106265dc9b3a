"""Dutch number words in the spelling that hammer sends: ``éénentwintig``, ``tweeentwintig``, ``éénduizend één``."""

_ONES = ["nul", "één", "twee", "drie", "vier", "vijf", "zes", "zeven", "acht", "negen"]
_TEENS = ["tien", "elf", "twaalf", "dertien", "veertien", "vijftien", "zestien", "zeventien", "achttien", "negentien"]
_TENS = ["twintig", "dertig", "veertig", "vijftig", "zestig", "zeventig", "tachtig", "negentig"]
_BELOW_TWENTY = (*_ONES, *_TEENS)


def number_word(number: int) -> str:
    """The word for a number from 0 to 999 999.

    Raises:
        ValueError: the number is out of that range.
    """
    if not 0 <= number <= 999_999:
        raise ValueError(f"no word for {number}: it must be 0 to 999999")
    thousands, rest = divmod(number, 1000)
    if not thousands:
        return _below_thousand(rest)
    word = _below_thousand(thousands) + "duizend"
    return f"{word} {_below_thousand(rest)}" if rest else word


def _below_thousand(number: int) -> str:
    hundreds, rest = divmod(number, 100)
    if not hundreds:
        return _below_hundred(rest)
    word = ("" if hundreds == 1 else _BELOW_TWENTY[hundreds]) + "honderd"
    return word + _below_hundred(rest) if rest else word


def _below_hundred(number: int) -> str:
    if number < 20:
        return _BELOW_TWENTY[number]
    tens, ones = divmod(number, 10)
    word = _TENS[tens - 2]
    return f"{_BELOW_TWENTY[ones]}en{word}" if ones else word
