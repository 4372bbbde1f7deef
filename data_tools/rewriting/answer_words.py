"""How models refuse, how they announce an answer, and what of a prompt they repeat: patterns."""

import re

_CANNOT = (
    r"(?:can't|can’t|cannot|can not|could not|couldn't|won't|"
    r"am (?:not able|unable|not allowed) to)"
)
_HELP = (
    "help|assist|provide|rewrite|rephrase|describe|see|view|fulfil|fulfill|comply|create|generate|"
    "produce|answer|continue|identify|engage|complete|process|access|do that|write"
)

REFUSALS = re.compile(
    rf"\bas an? (?:AI|artificial intelligence|(?:large )?language model)\b"
    rf"|\bI'?m (?:just )?an AI\b"
    rf"|^\W*(?:I'?m|I am) (?:very )?sorry\b"
    rf"|^\W*sorry,? (?:but )?I\b"
    rf"|^\W*I apologi[sz]e\b"
    rf"|^\W*unfortunately,? I\b"
    rf"|\bI {_CANNOT} (?:\w+ )?(?:{_HELP})\b"
    rf"|\b(?:is|was) no (?:caption|image|text) (?:given|provided|attached)\b"
    rf"|\bplease (?:provide|share|give me|upload|send)\b.*\b(?:caption|image|text|picture)\b"
    rf"|\bagainst my (?:guidelines|policy|programming)\b",
    re.IGNORECASE,
)

_LABEL = (
    r"(?:answer|caption|(?:rewritten|rephrased|new|short|shorter) (?:caption|sentence|version)|"
    r"rewrite|in other words|one sentence|sentence|output|description)"
)

# at the beginning of a line, before the caption or instead of it; taken off in this order
OPENINGS = (
    re.compile(
        r"^(?:sure|certainly|of course|okay|absolutely)(?: thing)?(?:[!.,:]+\s*|$)", re.IGNORECASE
    ),
    re.compile(
        rf"^\W{{0,2}}(?:here(?:'s|’s| is| are)\b[^:]{{0,40}}\b{_LABEL}\b[^:]{{0,40}}|{_LABEL})"
        r"\W{0,2}:[\s*]*",
        re.IGNORECASE,
    ),
)

LEAKS = re.compile(
    r"=>"
    r"|\b(?:first|second) text\b"
    r"|\b(?:caption|sentence \d|answer|user|assistant|instruction)\s*:"
    r"|\b(?:rewritten|rephrased) caption\b"
    r"|\bin other words\b.*\bcaption"
    r"|\bevery number and name\b"
    r"|<\|?\w+\|?>|\[/?INST\]|</?s>",
    re.IGNORECASE,
)
