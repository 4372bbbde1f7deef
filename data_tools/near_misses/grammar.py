"""Small words, common verbs and adjectives, and how English forms verbs."""

from data_tools.near_misses.tokens import is_vowel
from data_tools.word_lists import word_set

ARTICLES = frozenset({"a", "an"})
DETERMINERS = word_set(
    "a an the this that these those his her its their our my your some another each every one "
    "no both several many two three four five six seven eight nine ten few"
)
PREPOSITIONS = word_set(
    "about above across after against along alongside amid amidst among around as at atop "
    "before behind below beneath beside between by down during for from in inside into like "
    "near of off on onto out outside over past through to toward towards under underneath up "
    "upon via with within without"
)
_LINKS = word_set(
    "and or but while whilst as who which that is are was were be being has have had can will "
    "does do did then when where there"
)
DENIALS = word_set(
    "no not without never nobody nothing neither nor none isn't aren't wasn't weren't doesn't "
    "don't isn’t aren’t wasn’t weren’t doesn’t don’t"
)
PRONOUNS = word_set("he she him her his hers himself herself they them their it its i you we me us")
NOT_NOUNS = DETERMINERS | PREPOSITIONS | _LINKS | PRONOUNS  # a noun ends before one of these
STOP_WORDS = NOT_NOUNS | word_set(
    "not very so too also just only more most other such than all any same own away back "
    "together here this"
)
GENDERED = word_set(
    "he she him her his hers himself herself mother father mom dad wife husband son daughter "
    "sister brother bride groom bikini bearded beard pregnant skirt dress shirtless topless "
    "mustache moustache bra male female"
)

# before these a noun phrase may go on: "a happy dog"
ADJECTIVES = word_set(
    "happy sad cute fluffy furry shaggy hairy bald bearded shirtless barefoot topless pretty "
    "beautiful handsome fat thin skinny slim muscular strong tired sleepy playful excited angry "
    "asian african american european indian chinese japanese male female teenage teenaged "
    "middle-aged heavy lone single different same various colorful colourful striped spotted "
    "plaid checkered flowered floral bright dark light fancy plain shiny huge tiny large big "
    "small little tall short long wide narrow thick thin young old new older elderly wet dry "
    "muddy dirty clean open closed empty crowded busy full sunny cloudy rainy snowy icy sandy "
    "rocky grassy wooded paved concrete steep flat green-eyed homeless pregnant blond blonde "
    "brunette dark-haired red-haired gray-haired long-haired smiling laughing sitting standing "
    "running lonely uniformed costumed masked hooded first second third last next other another "
    "whole entire huge enormous giant gigantic miniature stuffed toy wild tame adult baby "
    "domestic wooden metal plastic glass brick stone leather fresh hot cold frozen cooked "
    "sliced half raw delicious ripe modern antique vintage rusty broken damaged parked round "
    "square rectangular quiet calm public private indoor outdoor inflatable electric acoustic "
    "professional elegant casual formal loose tight matching dressed well-dressed expensive "
    "cheap nice great good bad funny silly scary decorative decorated painted patterned "
    "multicolored multi-colored curly straight deep shallow real fake lovely cheerful foggy "
    "desolate deserted distant nearby urban rural tropical colored coloured"
)

# third persons, beside which a word is no verb form of its own
_VERBS = word_set(
    "walk run jump play sit stand ride hold wear look watch climb catch throw carry swim sleep "
    "eat drink lie lay lean leap chase race fly hang smile laugh pose perform kick hit reach "
    "pull push cross enter leave sniff lick bite bark fetch retrieve splash dig roll slide ski "
    "skate surf swing sing dance paint read write talk speak point wait rest relax work cook "
    "cut make take put give get go come show prepare try attempt start begin fall float drive "
    "park travel move turn flip grind balance stretch crawl kneel squat crouch bend hike bike "
    "jog dive paddle row sail fish hunt graze stare gaze peek wave hug kiss fight wrestle "
    "tackle pitch bat swing serve block head cheer clap celebrate march blow spray feed pet "
    "touch grab lift drop toss use open close wash clean brush dry appear seem gather shake "
    "trot gallop wade pass approach follow lead help struggle compete tumble bounce shoot yell "
    "scream shout cry yawn chew enjoy drag tug land hop sled snowboard skateboard walk barrel "
    "dash shop browse"
)


def third_person(verb: str) -> str:
    """run -> runs, watch -> watches, carry -> carries"""
    if verb.endswith(("s", "x", "z", "ch", "sh", "o")):
        return verb + "es"
    if verb.endswith("y") and not is_vowel(verb[-2]):
        return verb[:-1] + "ies"
    return verb + "s"


THIRD_PERSONS = frozenset(map(third_person, _VERBS))
VERBS = frozenset(_VERBS) | THIRD_PERSONS


_NO_PARTICIPLES = word_set("sled shed breed hundred seed weed")


def ends_noun_phrase(word: str) -> bool:
    """Whether a noun phrase is over before this word."""
    if word in NOT_NOUNS or word in THIRD_PERSONS or word.endswith("ing"):
        return True
    return word.endswith("ed") and len(word) > 4 and word not in _NO_PARTICIPLES
