"""Whether a sentence names an injected mistake: its kind and its place.

A mistake has several descriptions that are equally right: the factor in words or as a formula, the place by the name of
a variable, of a parameter, by a line, or as the list of all gradients that are wrong. Each description is a tuple of
conditions, all of which must hold; one description is enough. Conditions are regular expressions (case is ignored in
lower-case words only where ``(?i:...)`` says so) or begin with ``@``:

- ``@place``: a name or line of the mistake's place, or all wrong gradients. Holds if the kind alone says where.
- ``@name``: a name of the mistake's place or, if only one gradient is wrong, that parameter.
- ``@loss``: the data term, by a variable between the scores and the cost, or in words. A list of all gradients is not
  enough, since they contain the L2 term, too.
- ``@penalty``: the L2 term. ``@factor``: the mistake's factor.
- ``@other``: the array that was used by mistake; if the cost has no name for it, a description in words.
- ``@affected``: all gradients that are wrong.
- ``@where``: the parameter of the place, if the place says one.
- ``@named``: a name of the place, nothing else. ``@flow``: the same, but one of several wrong gradients is not enough;
  their list is. ``@only``: no parameter whose gradient is right.
- ``@gradient``, ``@notgradient``: the gradient of the parameter, not the parameter. ``@self``: "is W".
- ``@notpenalty``, ``@notderivative``, ``@notmask``, ``@notvar``, ``@notmean``, ``@notscale``: the sentence is
  not about these.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple


class Truth(NamedTuple):
    """An injected mistake, in the names of the case."""

    mistake: str
    place: tuple[str, ...] = ()
    affected: tuple[tuple[str, ...], ...] = ()  # the names of each parameter whose gradient is wrong
    lines: tuple[int, ...] = ()
    other: tuple[str, ...] = ()
    factor: str = ""
    loss: tuple[str, ...] = ()
    penalty: tuple[str, ...] = ()
    unaffected: tuple[tuple[str, ...], ...] = ()  # the names of each parameter that is neither wrong nor the place
    masks: tuple[str, ...] = ()  # names of dropout masks
    same: tuple[Truth, ...] = ()  # mistakes with the same gradients, whose descriptions are right, too


COUNT = (
    r"(?:(?<![\w/])[Nn](?!\w)|\b(?:the )?(?:number|count) of (?:images|examples|samples|observations|rows|columns)|"
    r"(?:the )?batch size|\w+\.shape\[-?\d\]|len\(\w+\)|\w+\.size)"
)
VALUE = r"(?: ?(?:\(=?|=) ?[\d.]+\)?)?"
ABSENT = (
    r"(?i:missing|misses|left out|leaves? out|forgot\w*|omit\w*|absent|lack\w*|not "
    r"(?:applied|included|added|used|there|divided|multiplied|counted|subtracted)|"
    r"ignored?|ignores|neglect\w*|without|dropped|skipped|\blost|is not in|"
    r"does not (?:contain|include|have|occur|appear)|never (?:applied|added|used))"
)
STOPPED = (
    r"(?i:nothing (?:flows|arrives|reaches|comes)|stops?\b|(?:is|are) (?:zero|0)\b(?!\.)|\b0 times|"
    r"not (?:propagated|reached)|detached|constants?\b)"
)
CUT = rf"(?:{ABSENT}|{STOPPED})"
PATH = r"(?i:gradient|data term|flow|path|product|delta)"
NO_FLOW = rf"(?:{STOPPED}|{PATH}[^.;]{{0,30}}{ABSENT}|{ABSENT}[^.;]{{0,15}}{PATH})"
ACTIVATION = r"(?i:\brelu\b|\brelus?'|\btanh\b|\bsigmoid\b|activation|maximum\b|\bmax\(|hinge|step function)"
OWN = r"(?i:\b(?:own|correct|true|right|label(?:led|'s)?) (?:class|label|score)|\bown\b|the label\b|labels?'|\btarget)"
NEGATED = r"(?i:\bsign|negat|(?<![\w.])-1 times|minus|opposite)"


def times(factor: str) -> str:
    """Return the pattern of "is `factor` times what it should be" and its equivalents."""
    return rf"(?<![\w/*.(-]){factor}{VALUE} ?(?:-fold|(?:times|\u00d7)(?! (?:too small|smaller)))"


def too_large(factor: str) -> str:
    by_factor = rf"too (?:large|big|high) by (?:a |the )?(?:factor (?:of )?)?{factor}"
    return rf"(?:{by_factor}|{factor}{VALUE} times too (?:large|big))"


def too_small(factor: str) -> str:
    return rf"(?:too small by (?:a |the )?(?:factor (?:of )?)?{factor}|{factor}{VALUE} times (?:too small|smaller))"


_N = COUNT.replace(r"(?<![\w/])", r"(?<!\w)")
_BY_N = rf"(?:1 ?/ ?{_N}|(?i:division by|divide by) {_N}|by {_N})"
FACTORS = {
    "N": (
        times(COUNT),
        too_large(COUNT),
        rf"{ABSENT}[^.;]{{0,25}}{_BY_N}",
        rf"(?:1 ?/ ?|(?i:division by) ){_N}[^.;]{{0,20}}{ABSENT}",
        rf"(?i:(?:multiplied|times) (?:once )?by) {_N}",
        r"(?i:\ba sum)[^.;]{0,30}(?i:for|instead of|not|where)[^.;]{0,15}(?i:mean)",
    ),
    "1/N": (
        times(rf"1 ?/ ?{_N}"),
        too_small(COUNT),
        r"(?i:mean)[^.;]{0,40}(?i:for|instead of|not|where)[^.;]{0,20}(?i:\bsum)",
        rf"(?i:divided) (?:\w+ )?by {_N}[^.;]{{0,12}}(?i:twice|again|too\b|once too)",
        rf"(?i:divided (?:twice|again)) by {_N}",
        rf"(?i:extra|second|additional|superfluous|another|needless)[^.;]{{0,25}}{_BY_N}",
        rf"1 ?/ ?{_N}[^.;]{{0,25}}(?i:twice|squared|too often|too many)",
        rf"{_N}(?:\*\*2|\^2|²)",
    ),
    "2": (times("(?:2|two)"), too_large("(?:2|two)"), r"(?i:\btwice what|\btwice (?:as|the|its)|doubled)"),
    "1/2": (times(r"(?:1 ?/ ?2|0\.5|½)"), too_small("(?:2|two)"), r"(?i:\bhalf (?:of )?(?:what|as|the|its)|halved)"),
    "-1": (NEGATED,),
    "0.1": (times(r"(?:0\.1|1 ?/ ?10)"), too_small("(?:10|ten)"), r"(?i:a tenth)"),
}
LAM = r"(?:lam|lambda|λ)"  # the name in the case is replaced by lam before
PENALTY = r"(?i:penalty|penalties|\bL2\b|regulari[sz]\w*|weight decay|squared weights|sum of (?:all )?squares)"

DATA = (
    r"(?i:data (?:term|part)|\bloss(?:es)?\b|cross.?entropy|likelihood|\bhinge\b|\bsoftmax|logsumexp|\blog\b|"
    r"\bscores?\b|\blogits\b)"
)
UNNAMED = (
    r"(?i:gradient|cotangent|upstream|incoming|delta|pre-activation|input|output|argument|result|activation|matmul)|@"
)
HEDGES = r"(?i:\b(?:perhaps|maybe|possibly|probably|might|may be|could be|either)\b)"
MOST_WORDS = 70  # formulas included
EVERY = r"(?i:\b(?:every|all|each|whole|entire)\b)"

Condition = Callable[[str, "Truth"], bool]
Descriptions = tuple[tuple[str, ...], ...]


def factor_at(name: str, *place: str) -> Descriptions:
    """Return descriptions by a factor and places."""
    return tuple((pattern, *place) for pattern in FACTORS[name])


VOCABULARY: dict[str, Descriptions] = {
    # 1
    "missing_1_over_n": factor_at("N", "@loss"),
    "double_1_over_n": factor_at("1/N", "@loss"),
    "misplaced_1_over_n": (("@factor", "@flow"),),
    "divided_by_other": (
        (times(rf"{_N} ?/ ?(?:K|number of classes|.{{1,14}}\.shape.{{1,4}})"), "@loss"),
        (rf"(?i:divided by)[^.;]{{0,20}}(?:\bK\b|(?i:classes)|shape)[^.;]{{0,30}}{_N}", "@loss"),
        (rf"(?:\bK\b|(?i:number of classes))[^.;]{{0,20}}(?i:instead of|stands|for)[^.;]{{0,20}}{_N}",),
    ),
    # 2, 3, 4
    "l2_over_n": factor_at("1/N", "@penalty"),
    "l2_half": (
        *factor_at("1/2", "@penalty"),
        (
            (
                rf"(?<!2 )(?<!2 \* )(?<!2){LAM}(?: \* \w+)?`? (?:stands )?(?:for|instead of|where|not)"
                rf"[^.;]{{0,12}}2 ?\*? ?{LAM}"
            ),
        ),
        (r"2", ABSENT, "@penalty", r"(?i:factor (?:of )?(?:2|two))"),
    ),
    "l2_double": (
        *factor_at("2", "@penalty"),
        (rf"2 ?\*? ?{LAM}(?: \* \w+)?`? (?:stands )?(?:for|instead of|where|not)[^.;]{{0,12}}(?<!2 ){LAM}",),
        (r"(?i:extra|superfluous|additional) factor (?:of )?2", "@penalty"),
    ),
    "l2_missing": ((CUT, "@penalty", "@where"),),
    "l2_bias": (
        (r"(?i:penali[sz]ed)", "@name"),
        (PENALTY, "@name", r"(?i:\badded|includ\w*|contain\w*|superfluous|extra|should not|bias(?:es)? (?:is|are))"),
        (rf"\b{LAM}\b", "@name", r"(?i:\badded|contain\w*|superfluous|extra|includ\w*|should not)"),
    ),
    # 5, 6, 7, 8
    "db_from_dw": (
        ("@name", r"(?i:taken|computed|made|comes?|sum\w*|derived)[^.;]{0,40}(?:\bd\w+|(?i:product|gradient) )"),
        (
            "@name",
            (
                r"(?i:multiplied (?:by|with)|times|product (?:with|by)|stands)[^.;]{0,25}"
                r"(?:\bX|\b[A-Z]\w*\.T|(?i:images|input|\bH\d))"
            ),
        ),
    ),
    "db_mean": factor_at("1/N", "@name"),
    "db_not_summed": (
        ("@name", rf"(?:{ABSENT}|(?i:not|without|un))[^.;]{{0,12}}(?i:sum)"),
        ("@name", r"(?i:sum)[^.;]{0,30}" + ABSENT),
        ("@name", r"(?i:shape|dimension)"),
    ),
    "db_wrong_axis": (("@name", r"(?i:\baxis|axes)"), ("@name", r"(?i:shape|dimension)")),
    "transposed_factor": (
        ("@name", r"(?i:transpos)", "@notgradient"),
        ("@name", r"\w\.T\b[^.;]{0,20}(?i:instead|belongs|stands|where|for)"),
    ),
    "dw_transposed": (("@gradient", r"(?i:transpos)"), ("@name", r"(?i:\bshape|convention)")),
    # 9
    "sign_all": ((NEGATED, EVERY), (NEGATED, "@affected"), (NEGATED, r"(?i:\bcost\b|\bJ\b)")),
    "sign_loss": ((NEGATED, "@loss"),),
    "sign_param": ((NEGATED, "@flow", "@only"),),
    # 10, 11, 12
    "activation_derivative_missing": (
        (ACTIVATION, ABSENT, "@place", "@notmask"),
        (ACTIVATION, r"(?i:taken for|treated as|identity|derivative is (?:1|one)|mask is (?:1|one))", "@place"),
        (r"(?i:\bmask\b|\bderivative|\bslope)", ABSENT, "@place", "@notmask"),
    ),
    "mask_wrong_array": (
        (
            r"(?i:mask|derivative|factor|\brelu|maximum|margin|> ?0|step)",
            r"(?i:stands|instead|of the|belongs|where|taken|wrong|for)",
            "@other",
            "@place",
        ),
    ),
    "margin_forgotten": (
        (r"(?i:margin|\+ ?1\b|\b1\b)", ABSENT),
        (r"(?i:mask|derivative|relu|maximum|> ?0)", r"\w - \w+(?! ?\+)", r"(?i:instead|stands|belongs|where|for)"),
    ),
    "other_derivative": (
        (r"(?i:sigmoid)", r"(?i:tanh)", "@place"),
        (r"(?i:derivative|factor)", r"(?i:another function|other function|wrong function)", "@place"),
        (r"1 ?- ?\w+ ?(?:\*\* ?2|²|\^2|\* ?\w+)", r"\w+ ?\* ?\(1 ?- ?\w+\)", "@place"),
    ),
    "derivative_at_input": (
        (
            r"(?i:tanh|sigmoid|derivative|factor|activation|1 ?-)",
            "@other",
            r"(?i:instead|stands|belongs|where|not of|taken|for|evaluated)",
        ),
        (
            r"(?i:tanh|sigmoid|activation)",
            r"(?i:derivative|factor)",
            r"(?i:of (?:its|the) (?:input|pre-activation)|at (?:its|the) input)",
            "@place",
        ),
    ),
    # 13
    "overwritten": (
        (rf"(?:(?i:overwr\w+|replaced|only the (?:penalty|L2|regulari\w+))|{NO_FLOW})", "@name", "@notpenalty"),
        (r"(?i:instead of (?:being )?added|`?=`? (?:for|instead of|where) `?\+=)", "@name"),
    ),
    # 14, 15
    "softmax_diagonal": (
        (r"(?i:softmax|Jacobian)", r"(?i:diagonal|off-diagonal|other classes|cross terms)"),
        (r"(?i:diagonal)", "@loss"),
    ),
    "softmax_sum_forgotten": (
        (
            r"(?i:softmax|normali[sz]\w*|\bE\b|\bP\b|exp|logsumexp)",
            rf"(?:{CUT})",
            r"(?i:\bsum\b|denominator|normali[sz]|logsumexp|off-diagonal)",
        ),
        (r"(?i:logsumexp|log-sum-exp)", CUT),
    ),
    "softmax_unnormalised": (
        (r"(?i:not normali[sz]ed|unnormali[sz]ed|normali[sz]ation)", r"."),
        (r"(?i:softmax|exp)", r"(?i:denominator|division|divided|sum)", ABSENT),
        (r"\bE\b|(?i:\bexp)", r"(?i:instead of|stands|belongs|for)", r"(?i:softmax|\bP\b|prob)"),
    ),
    # 16, 17
    "updated_before_delta": (
        (
            "@name",
            r"(?i:updat\w+|already|after (?:the|its) step|\beta\b|learning rate|too early|new (?:weights|value))",
        ),
    ),
    "w_for_dw": (
        (
            "@name",
            (
                r"(?i:itself|themselves|the (?:weights|parameter|values? of)|returned|"
                r"instead of (?:its|the) (?:gradient|derivative))"
            ),
        ),
        ("@self",),
    ),
    # 18
    "hinge_own_missing": ((OWN, CUT), ("@named", CUT)),
    "hinge_own_counted": (
        (OWN, r"(?i:too (?:often|many|large|much)|by (?:1|one)\b|is counted|includ|contain|itself|twice|once more)"),
    ),
    "hinge_own_once": ((OWN, r"(?i:count|once|number of|only|sum|not multiplied)", r"^(?!.*too (?:often|many))"),),
    "hinge_own_sign": ((OWN, NEGATED), ("@named", NEGATED)),
    # 19
    "bn_mean_var_constant": (
        (CUT, r"(?i:\bmean|\bmu\d?|\bmean\()", r"(?i:varian|\bvar|\bv\d\b|\bsd|standard dev)", "@place"),
        (CUT, r"(?i:statistics)", "@place"),
    ),
    "bn_mean_constant": ((CUT, r"(?i:\bmean|\bmu\d?\b|\bm\d\b)", "@notvar", "@place"),),
    "bn_var_constant": ((CUT, r"(?i:varian|\bvar|\bv\d\b|\bsd|standard dev|\bsqrt)", "@notmean", "@place"),),
    "bn_gamma_missing": ((ABSENT, r"(?i:\bgamma|\bg\d|scale)", "@place"),),
    # 20
    "dropout_mask_missing": ((r"(?i:dropout|mask|\bM\d)", ABSENT, "@notscale", "@place"),),
    "dropout_not_scaled": (
        (r"(?i:\bkeep\b|scal\w+|1 ?/ ?\(?(?:keep|p\b|0?\.\d)|probability)", rf"(?:{ABSENT}|(?i:times))", "@place"),
        (times(r"(?:keep|p|0\.\d+)"), "@place"),
    ),
    # 21
    "filter_flipped": (("@name", r"(?i:rotat|flip|turn|revers|mirror|\[::-1)"),),
    "channels_swapped": (("@name", r"(?i:channel|revers|last axes|axis 2)"),),
    "filter_transposed": (("@name", r"(?i:transpos|swap|axes)"),),
    # 23
    "off_by_one": (
        (
            (
                r"(?i:\b(?:first|last|one) (?:image|column|row|sample|example|patch|label)|"
                r"off by one|by one|shifted|rolled|N ?- ?1)"
            ),
        ),
    ),
    "bias_forgotten": (("@name", ABSENT),),
    "detached": ((NO_FLOW, "@place", "@notpenalty", r"^(?!.*(?i:forward pass))"),),
    # 24
    "wrong_variable": (
        ("@other", r"(?i:stands|instead|belongs|where|taken for|used for|not|should be)", "@where", "@notderivative"),
    ),
    # 25
    "momentum_factor": tuple((p, EVERY) for p in FACTORS["0.1"]) + tuple((p, "@affected") for p in FACTORS["0.1"]),
}

_ABBREVIATIONS = re.compile(r"\b(e\.g|i\.e|cf|resp|no(?=\. \d))\.")


def first_sentence(text: str) -> str:
    """Return the text up to the end of its first sentence or line."""
    text = _ABBREVIATIONS.sub(lambda match: match[1].replace(".", ""), text.strip())
    return re.split(r"(?<=[^.\d][.!?])\s+(?=\S)|\n", text, maxsplit=1)[0]


def has_name(sentence: str, names: Iterable[str]) -> bool:
    """Return whether the sentence has one of the names of variables, or that of its gradient, as a word."""
    found = (rf"(?<![\w.])(?:d|grad_|d_|∂)?{re.escape(name)}(?!\w|\[)" for name in names)
    return any(re.search(pattern, sentence) for pattern in found)


def names_mistake(text: str, truth: Truth) -> bool:
    """Return whether the first sentence of a text names the mistake, or one with the same gradients.

    A long or hedged sentence, which could name many mistakes, names none.
    """
    sentence = first_sentence(text)
    if len(sentence.split()) > MOST_WORDS or re.search(HEDGES, sentence):
        return False
    return any(_is_named(sentence, reading) for reading in (truth, *truth.same))


def _is_named(sentence: str, truth: Truth) -> bool:
    for name in truth.penalty:
        sentence = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "lam", sentence)
    return any(
        all(_holds(sentence, condition, truth) for condition in description)
        for description in VOCABULARY[truth.mistake]
    )


def _all_affected(sentence: str, truth: Truth) -> bool:
    return bool(truth.affected) and all(has_name(sentence, names) for names in truth.affected)


def _is_at_place(sentence: str, truth: Truth) -> bool:
    on_line = any(re.search(rf"(?i:\bline ){line}\b", sentence) for line in truth.lines)
    return not truth.place or on_line or has_name(sentence, truth.place) or _all_affected(sentence, truth)


def _is_in_flow(sentence: str, truth: Truth) -> bool:
    """Return whether a sentence places a factor or sign: one of several wrong gradients does not say where it is."""
    several = [name for names in truth.affected for name in names] if len(truth.affected) > 1 else []
    names = [name for name in truth.place if name not in several]
    on_line = any(re.search(rf"(?i:\bline ){line}\b", sentence) for line in truth.lines)
    in_words = not names and bool(
        re.search(r"(?i:hidden|first layer|layer 1\b|activation|relu|tanh|sigmoid)", sentence)
    )
    return has_name(sentence, names) or on_line or in_words or _all_affected(sentence, truth)


def _is_gradient_of(sentence: str, names: Iterable[str]) -> bool:
    joined = "|".join(re.escape(name) for name in names)
    words = r"(?i:gradient|derivative)s? (?:of |for |with respect to )?"
    return bool(joined) and bool(re.search(rf"(?:{words}`?|(?<!\w)(?:d|grad_|d_|∂))(?:{joined})(?!\w)", sentence))


def _is_self(sentence: str, truth: Truth) -> bool:
    """Return whether a sentence says that the gradient is the parameter."""
    names = "|".join(re.escape(name) for name in truth.place)
    verb = r"(?i:is|equals|stands for|follows)"
    return bool(re.search(rf"{verb} (?:just |simply )?`?(?:{names})`?(?= |[,.;]|$)", sentence))


def _is_without(pattern: str) -> Condition:
    return lambda sentence, _: not re.search(pattern, sentence)


def _has_one_affected(sentence: str, truth: Truth) -> bool:
    return len(truth.affected) == 1 and has_name(sentence, truth.affected[0])


CONDITIONS: dict[str, Condition] = {
    "@place": _is_at_place,
    "@where": lambda s, t: not t.place or has_name(s, t.place) or _has_one_affected(s, t),
    "@name": lambda s, t: has_name(s, t.place) or _all_affected(s, t),
    "@affected": _all_affected,
    "@other": lambda s, t: has_name(s, t.other) if t.other else bool(re.search(UNNAMED, s)),
    "@loss": lambda s, t: has_name(s, t.loss) or bool(re.search(DATA, s)),
    "@penalty": lambda s, _: bool(re.search(PENALTY, s)) or has_name(s, ("lam",)),
    "@factor": lambda s, t: any(re.search(pattern, s) for pattern in FACTORS[t.factor]),
    "@named": lambda s, t: has_name(s, t.place),
    "@flow": _is_in_flow,
    "@only": lambda s, t: not any(has_name(s, names) for names in t.unaffected),
    "@gradient": lambda s, t: _is_gradient_of(s, (*t.place, *itertools.chain(*t.affected))) or "returned" in s,
    "@notgradient": lambda s, t: not _is_gradient_of(s, t.place),
    "@self": _is_self,
    "@notpenalty": lambda s, _: not re.search(PENALTY, s) or bool(re.search(r"(?i:\bonly\b|data term)", s)),
    "@notmask": lambda s, t: not re.search(r"(?i:dropout|\+ ?1\b|\bmargin\b)", s) and not has_name(s, t.masks),
    "@notderivative": _is_without(r"(?i:\bmask|derivative)"),
    "@notvar": _is_without(r"(?i:varian|\bvar\b|\bv\d\b|standard dev)"),
    "@notmean": _is_without(r"(?i:\bmu\d?\b|\bmeans?\b)"),
    # "scales[0]" and "scale1" are names of parameters.
    "@notscale": _is_without(r"(?i:scal\w+(?<!\d)(?!\w|\[)|1 ?/ ?keep|keep probability)"),
}


def _holds(sentence: str, condition: str, truth: Truth) -> bool:
    if condition.startswith("@"):
        return CONDITIONS[condition](sentence, truth)
    return bool(re.search(condition, sentence))
