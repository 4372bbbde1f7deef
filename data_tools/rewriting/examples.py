"""Example pairs (caption, another wording) that in-context presets show a model, in four styles.

Three pairs are drawn for each prompt, so that rewrites of one data set do not all sound alike
(Fan et al., "Improving CLIP Training with Language Rewrites", 2023). All pairs were written for
this project. `FLUENT` turns bits of text into smooth sentences; `VIVID` says the same with more
colour; `TWO_VIEWS` are two people's captions of one imagined photo; `PLAIN` are short everyday
paraphrases. No pair loses a number or a name.
"""

Pairs = tuple[tuple[str, str], ...]

FLUENT: Pairs = (
    ("red bicycle leaning, brick wall", "A red bicycle leans against a brick wall."),
    ("fresh bread loaves bakery shelf", "Fresh loaves of bread fill a shelf in the bakery."),
    ("kids playing chess park table", "Children play chess at a table in the park."),
    ("harbour at dusk w/ fishing boats", "Fishing boats rest in the harbour at dusk."),
    ("old typewriter desk lamp", "An old typewriter stands on a desk beside a lamp."),
    ("man repairing shoes small shop", "A man repairs shoes in his small shop."),
    ("snow covered cabin forest night", "A cabin in the forest lies under snow at night."),
    ("two horses grazing near fence", "Two horses graze near a wooden fence."),
    (
        "woman w/ yellow umbrella rain street",
        "A woman walks down a rainy street with a yellow umbrella.",
    ),
    ("glass jar of buttons, close up", "A close view shows a glass jar full of buttons."),
    (
        "train crossing stone viaduct valley",
        "A train crosses a stone viaduct high above the valley.",
    ),
    (
        "tomatoes basil cutting board knife",
        "Tomatoes and basil lie on a cutting board next to a knife.",
    ),
    ("city tram stop morning commuters", "Commuters wait at a tram stop in the morning."),
    ("hot air balloons over vineyard", "Hot air balloons drift over a vineyard."),
    ("boy feeding ducks pond bench", "A boy feeds the ducks from a bench by the pond."),
    ("potter shaping bowl wheel hands", "The hands of a potter shape a bowl on the wheel."),
)

VIVID: Pairs = (
    ("A lighthouse on a cliff.", "A white lighthouse stands watch on a cliff above the rough sea."),
    ("A cat sleeps on a sofa.", "A cat has curled up on a soft sofa and sleeps without a care."),
    ("People dance at a wedding.", "Guests whirl across the dance floor at a joyful wedding."),
    (
        "A market stall with spices.",
        "Heaps of bright spices glow in the baskets of a market stall.",
    ),
    ("A surfer rides a wave.", "A surfer races along the face of a curling green wave."),
    ("A road through the desert.", "A lonely road runs straight through the wide, dusty desert."),
    ("An owl on a branch.", "A watchful owl sits on a mossy branch with its eyes wide open."),
    ("A bowl of soup.", "Steam rises from a bowl of hot soup, ready to be eaten."),
    ("Children build a sandcastle.", "Happy children build a tall sandcastle close to the waves."),
    ("A violin on a chair.", "A polished violin rests on a chair, as if it waited for its player."),
    ("Autumn trees along a river.", "Trees in gold and copper line the banks of a quiet river."),
    ("A dog catches a frisbee.", "An eager dog leaps high and snaps a frisbee out of the air."),
    ("A bridge in the fog.", "The arches of a bridge fade into the thick morning fog."),
    (
        "A woman paints a wall blue.",
        "With broad strokes a woman paints the whole wall a deep blue.",
    ),
    ("Three kayaks on a lake.", "Three slim kayaks glide over the mirror of a calm lake."),
    ("A farmer with a tractor.", "A farmer steers his rumbling tractor across the brown field."),
)

TWO_VIEWS: Pairs = (
    (
        "A skateboarder jumps over a bench.",
        "A boy on a skateboard is in the air above a park bench.",
    ),
    (
        "A pizza with olives on a wooden table.",
        "Someone has put a whole olive pizza on the table.",
    ),
    ("Two giraffes eat from a tall tree.", "A pair of giraffes stretch up to reach the leaves."),
    (
        "A bathroom with a white tub and a window.",
        "There is a tub below the window of this bathroom.",
    ),
    (
        "A man in a suit talks on his phone.",
        "A businessman holds a phone to his ear as he speaks.",
    ),
    ("A bus is parked by the side of the road.", "The parked bus takes up one side of a road."),
    ("A girl flies a kite on the beach.", "A kite is up over the sand, held by a girl."),
    ("A laptop and a cup of coffee on a desk.", "A desk with coffee in a cup next to a laptop."),
    (
        "A tennis player swings at the ball.",
        "The ball comes at a player who swings her tennis racket.",
    ),
    ("Several sheep stand in a green field.", "A grassy field with a few sheep standing around."),
    ("A vase of tulips near a mirror.", "Tulips in a vase are reflected in the mirror."),
    ("A motorcycle in front of a shop.", "Outside the shop somebody left a motorcycle."),
    ("A child blows out candles on a cake.", "Candles on a cake are being blown out by a kid."),
    ("Four zebras drink at a river.", "At the river, four zebras lower their heads to drink."),
    ("An airplane lands on a runway.", "A plane with its wheels down meets the runway."),
    ("A teddy bear sits on a made bed.", "Somebody placed a teddy bear on top of a tidy bed."),
)

PLAIN: Pairs = (
    ("a man riding a horse on the beach", "a rider on horseback along the shore"),
    ("a black dog running through grass", "a dark dog dashes across a lawn"),
    ("a group of friends eating dinner outside", "friends share an evening meal outdoors"),
    ("a baby laughing in a high chair", "a baby giggles in its chair"),
    ("a tall building at night", "a high tower after dark"),
    ("a woman reading a newspaper on a train", "a train passenger with a newspaper"),
    ("a plate of pancakes with berries", "pancakes topped with berries on a plate"),
    ("an old car parked under a tree", "a vintage car in the shade of a tree"),
    ("a climber hanging from a rock face", "someone climbs a steep rock"),
    ("five candles burning on a table", "a table with five lit candles"),
    ("a street musician playing guitar", "a guitarist performs in the street"),
    ("a boat crossing a lake in summer", "on a summer day a boat goes over the lake"),
    ("a kitten hiding in a box", "a small cat peeks out of a box"),
    ("a teacher writing on a blackboard", "a teacher at the board with chalk"),
    ("a crowd watching a football match", "football fans look on from the stands"),
    ("a pile of books next to a bed", "books stacked beside the bed"),
)
