"""What captions say of nouns: words for one another, and beside which words they are none.

Notation as in `nouns`: "/" joins what means the same, "~" marks what is known and never put in.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Attributes of one kind that deny one another.

    Args:
        kind: under which it is reported, one of `KINDS`.
        words: base forms.
        before: the noun groups or nouns it must stand before; any word where empty.
        not_before: the noun groups or nouns it must not stand before.
    """

    kind: str
    words: str
    before: str = ""
    not_before: str = ""


_PEOPLE = "grown-up, youngster, profession, sportsman, person, people, child, kid, toddler, baby"
_ADULTS = "grown-up, couple, people, person"
_NO_ADULTS = f"{_PEOPLE}, couple, mammal, bird kind, creature"

COLOURS = (
    "black, white, red, blue, green, yellow, brown, gray/grey, orange, pink, purple, ~tan, ~beige,"
    " ~golden, ~gold, ~silver, ~maroon, ~crimson, ~scarlet, ~burgundy, ~navy, ~teal, ~turquoise,"
    " ~violet, ~lavender, ~cream, ~blond, ~blonde, ~magenta, ~olive, ~ivory, ~khaki"
)
NEAR_COLOURS = (
    "red, maroon, crimson, scarlet, burgundy, pink, magenta",
    "red, orange, brown, maroon",
    "orange, yellow, golden, gold, tan, blond, blonde",
    "yellow, golden, gold, blond, blonde, cream, beige",
    "brown, tan, beige, orange, golden, maroon, khaki, blond, blonde, yellow",
    "white, cream, beige, ivory, silver, gray, tan, blond, blonde",
    "gray, silver, black",
    "black, navy, brown",
    "blue, navy, turquoise, teal, purple, gray",
    "green, turquoise, teal, olive, khaki, blue",
    "purple, violet, lavender, pink, magenta",
)
# what things of nature come in; people have none, as "a white man" does not tell of paint
COLOURS_OF = (
    (
        "person, people, child, kid, toddler, baby, grown-up, youngster, profession, sportsman,"
        " couple, family, group, crowd, team, adult, teenager, friend, skin",
        "",
    ),
    ("mammal, bird kind, bird, animal, pet, hair, beard, fur", "black, white, brown, gray"),
    ("creature, fruit, dish", "green, brown, yellow, red"),
    ("grass, field, lawn, park, hill, yard, garden", "green, yellow, brown"),
    ("water, river, lake, ocean, swimming pool, wave, sky", "blue, gray, green, black"),
    ("tree, bush, plant, leaf, forest, branch", "green, brown, yellow, red, orange"),
    ("rock, mountain, cliff, stone, ground", "gray, brown, black, red, white"),
    ("snow, ice, sand, beach, mud, gravel, wine", ""),
)
VIVID = "red, blue, green, purple, brown, gray, pink"  # what "dark" and "light" go with
SHADES = frozenset({"dark", "light", "bright", "pale", "deep", "neon"})
# as nouns they are something else, so they count only before a noun
OFTEN_NOUNS = frozenset({"orange", "gold", "silver", "cream", "olive", "lavender", "rose", "tan"})

SCALES = (
    Scale(
        "size",
        "big/large/~huge/~bigger/~larger, small/~tiny/~smaller",
        not_before=f"{_PEOPLE}, group, crowd",
    ),
    Scale("size", "little, big", not_before=f"{_PEOPLE}, bit, while"),
    Scale("size", "tall, short", before=f"{_ADULTS}, building, plant, tower, grass, fence, wall"),
    Scale(
        "size",
        "long, short",
        before="hair, sleeve, lower clothing, dress, stick, beard, tail,"
        " rope, sleeves, coat, leash, table, line, pole",
    ),
    Scale("size", "wide, narrow", before="street, path, river, hallway, bridge, trail, sidewalk"),
    Scale("size", "thick, thin", before="book, rope, slice, blanket, stick, tree, hair"),
    Scale("age", "young, old/elderly/~older", before=_ADULTS),
    Scale("age", "old, new", not_before=f"{_NO_ADULTS}, lab, year, woman, man, time, town, age"),
    Scale("age", "adult, baby", before="mammal"),
    Scale(
        "age",
        "modern, old-fashioned",
        before="building, kitchen, car, furniture, bathroom, telephone, phone, train",
    ),
    Scale(
        "state",
        "wet, dry",
        before="mammal, ground, street, sidewalk, hair, clothes, upper clothing, towel, rock",
    ),
    Scale(
        "state",
        "dirty, clean",
        before="mammal, vehicle, street, bathroom, kitchen, vessel,"
        " clothing, upper clothing, lower clothing, footwear, window, floor, water, seat,"
        " appliance",
    ),
    Scale(
        "state",
        "open, closed",
        before="door, window, umbrella, book, gate, mouth, laptop,"
        " suitcase, box, drawer, refrigerator, eye",
    ),
    Scale(
        "state",
        "empty, crowded/~busy",
        before="street, beach, restaurant, room, stadium,"
        " sidewalk, bus, train, park, airport, parking lot, court, kitchen, hallway, classroom",
    ),
    Scale("state", "empty, full", before="vessel, glass, box, shelf, basket"),
    Scale(
        "state",
        "sunny, rainy/cloudy/~overcast",
        before="day, sky, afternoon, morning, beach, street, park",
    ),
    Scale("state", "calm, rough/~choppy", before="water, ocean, sea, river, lake, wave"),
    Scale("state", "deep, shallow", before="water, pool, river, swimming pool"),
    Scale("state", "bare, leafy", before="tree, branch"),
    Scale("state", "ripe, rotten/~unripe", before="fruit"),
    Scale("state", "straight, curly", before="hair"),
    Scale("state", "stormy/~cloudy/~gray, clear", before="sky"),
)

MATERIALS = (
    "wooden/~wood, metal/~steel/~iron/~metallic, plastic, glass, brick, stone/~marble, concrete"
    "/~cement, leather, paper, cardboard, bamboo, rubber, ceramic/~porcelain"
)
# what is made of it makes sense only of some of them
MADE_OF = {
    "furniture": "wooden, metal, plastic, glass, stone",
    "seat": "wooden, metal, plastic, stone, leather",
    "vessel": "plastic, glass, metal, wooden, ceramic, paper",
    "cutlery": "plastic, metal, wooden",
    "building": "brick, wooden, stone, glass, concrete",
    "wall": "brick, wooden, stone, concrete, glass, metal",
    "fence": "wooden, metal, plastic, bamboo, stone",
    "bridge": "wooden, metal, stone, concrete",
    "floor": "wooden, concrete, brick, stone",
    "door": "wooden, metal, glass",
    "gate": "wooden, metal",
    "box": "wooden, metal, plastic, cardboard",
    "luggage": "leather, plastic",
    "jacket": "leather",
    "pole": "wooden, metal, plastic",
    "rail": "wooden, metal",
    "railing": "wooden, metal, stone",
    "ramp": "wooden, metal, concrete",
    "post": "wooden, metal, concrete",
    "deck": "wooden, concrete",
    "dock": "wooden, concrete",
    "staircase": "wooden, metal, stone, concrete",
    "step": "wooden, metal, stone, concrete, brick",
    "stair": "wooden, metal, stone, concrete, brick",
    "boat": "wooden, plastic, metal, rubber",
    "board": "wooden, plastic, metal",
    "beam": "wooden, metal, concrete",
    "bat": "wooden, metal, plastic",
    "stick": "wooden, metal, plastic",
    "structure": "wooden, metal, concrete, stone, glass",
    "sidewalk": "wooden, brick, concrete",
    "counter": "wooden, metal, stone, glass",
    "shelf": "wooden, metal, glass, plastic",
    "tray": "wooden, metal, plastic, paper",
}

# of bodies: base, third person, -ing; each row denies the others
ACTIONS = (
    "sit sits sitting, stand stands standing, lie/lay lies/lays lying/laying, "
    "kneel kneels kneeling, ~crouch ~crouches ~crouching, ~squat ~squats ~squatting",
    "run runs running, walk walks walking, sleep sleeps sleeping, "
    "~sprint ~sprints ~sprinting, ~race ~races ~racing, ~jog ~jogs ~jogging, "
    "~stroll ~strolls ~strolling, ~trot ~trots ~trotting, ~hike ~hikes ~hiking, "
    "~wade ~wades ~wading, ~swim ~swims ~swimming, ~nap ~naps ~napping, ~rest ~rests ~resting",
    "smile/~grin/~laugh smiles/~grins/~laughs smiling/~grinning/~laughing, "
    "cry/~weep cries/~weeps crying/~weeping, frown frowns frowning",
)
NEAR_ACTIONS = (
    "kneel, crouch, squat",
    "sit, crouch, squat, kneel",
    "run, sprint, race, jog, trot",
    "walk, stroll, trot, hike, wade, jog",
    "swim, wade, walk, run",
    "sleep, nap, rest, lie",
)

# (words, opposite words, must stand before one of these; "" is anything that has an article)
RELATIONS = (
    ("above", "below", ""),
    ("below", "above", ""),
    ("beneath", "on top of", ""),
    ("underneath", "on top of", ""),
    ("under", "on top of", "furniture, seat, bridge, tree, blanket, umbrella, roof, vehicle"),
    (
        "on top of",
        "underneath",
        "furniture, seat, bridge, roof, vehicle, household, vessel, box"
        ", counter, luggage, building, rock",
    ),
    ("on", "under", "furniture, seat, bridge, blanket, counter, luggage, trampoline, stage, dock"),
    ("in front of", "behind", ""),
    ("behind", "in front of", ""),
    ("inside", "outside", ""),
    ("inside of", "outside of", ""),
    ("outside of", "inside of", ""),
    (
        "outside",
        "inside",
        "building, vehicle, restaurant, room, bathroom, kitchen, garage, store,"
        " office, stadium, museum",
    ),
    ("in", "next to", "vessel, box, basket, suitcase, bathtub, sink, drawer, crib, boat, canoe"),
    ("next to", "far away from", ""),
    ("beside", "far away from", ""),
    ("near", "far away from", ""),
    ("close to", "far away from", ""),
    ("far from", "close to", ""),
    (
        "into",
        "out of",
        "vehicle, vessel, box, building, ocean, river, lake, swimming pool, water,"
        " tunnel, bag, luggage",
    ),
    (
        "out of",
        "into",
        "vehicle, vessel, box, building, ocean, river, lake, swimming pool, water,"
        " tunnel, bag, luggage",
    ),
    ("towards", "away from", ""),
    ("toward", "away from", ""),
    ("away from", "towards", ""),
    (
        "up",
        "down",
        "staircase, hill, mountain, tree, ladder, ramp, step, stair, rock, cliff, pole, slope",
    ),
    ("down", "up", "staircase, hill, mountain, ladder, ramp, step, stair, cliff, pole, slope"),
    (
        "with",
        "without",
        "lower clothing, upper clothing, headgear, footwear, luggage, instrument, beard, glasses,"
        " sunglasses, household, tattoo",
    ),
)
NEAR_RELATIONS = (
    "on, on top of, upon, atop, above, over",
    "under, underneath, beneath, below",
    "next to, beside, near, close to, by, alongside, along",
    "in front of, before, outside",
    "in, inside, inside of, into, through",
    "towards, toward, into",
    "away from, far from, far away from, out of",
)

# words that stand together as a name or idiom, where neither is what it says
FIXED = (
    "black and white photo/photograph/picture/image/film, white house, white water, blue jay,"
    " black bear, brown bear, white wine, red wine, green tea, orange juice,"
    " brown sugar, green bean, green beans, red cross, black belt, red light, green light,"
    " yellow light, traffic light, gold medal, golden gate, silver medal,"
    " big ben, big top, long jump, high jump, short stop, old fashioned, old town,"
    " new year, new york, full moon, glass of, glass window, stone age, paper towel, rubber band,"
    " rubber duck, dry erase, open air, open field, open area, open water, adult size,"
    " bull rider, white trash, red sox,"
    " red carpet, green house, white caps, brown university, orange county, black forest,"
    " sitting room, waiting room, running shoe, running shoes, standing ovation,"
    " walking stick, sleeping bag, swimming trunks, running water, walking path, racing bike,"
    " racing car, race car, race track, rest stop, rest area, bird house, bird bath, dog house,"
    " cat fish, horse back, carry on, check in, in order, in case, in addition, in turn"
)

# (words that mean nearly the same among all scales)
NEAR_ATTRIBUTES = (
    "little, small, short, young, baby",
    "big, tall, long, wide",
    "old, elderly, old-fashioned",
    "new, modern, young",
    "wet, muddy, dirty",
    "empty, bare",
)

KINDS = ("colour", "material", "size", "age", "state", "action", "relation", "number", "noun")
