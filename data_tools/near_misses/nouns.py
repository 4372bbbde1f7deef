"""Nouns that captions use, in groups of which each member denies the others.

In a group, entries that mean the same are joined by "/"; a "~" marks a word that is known and never
put in. What might be true together although it stands in one group is in `NEAR` or `ABOVE`.
"""

from dataclasses import dataclass
from typing import Literal

Sort = Literal["animate", "thing", "worn", "place", "stuff", "game"]


@dataclass(frozen=True)
class Group:
    """Nouns for one another.

    Args:
        sort: two nouns are exchanged within a caption only if both are of this sort.
        words: the singular, or for stuff the only form.
    """

    sort: Sort
    words: str

    @property
    def is_mass(self) -> bool:
        """Whether the nouns have neither an article nor a plural."""
        return self.sort in ("stuff", "game")


GROUPS: dict[str, Group] = {
    "grown-up": Group(
        "animate", "man/guy/~gentleman/~fellow/~dude/~male/~bloke, woman/lady/~female/~gal"
    ),
    "youngster": Group("animate", "boy/~lad, girl/~lass"),
    "profession": Group(
        "animate",
        "police officer/policeman/~policewoman/~cop, firefighter/fireman, soldier, chef/~cook, "
        "waiter/~waitress, nurse, doctor, cowboy/~cowgirl, clown, pirate, nun, priest/~monk",
    ),
    "sportsman": Group(
        "animate",
        "skateboarder, surfer, skier, snowboarder, cyclist/bicyclist/~bicycler/~biker, "
        "motorcyclist, golfer, wrestler, boxer, gymnast, wakeboarder, ballerina",
    ),
    "mammal": Group(
        "animate",
        "dog/puppy/~doggy/~doggie/~pup/~hound/~poodle/~labrador/~lab/~retriever/~terrier"
        "/~greyhound/~collie/~beagle/~bulldog/~spaniel/~dachshund/~husky/~pug/~doberman"
        "/~dalmatian/~chihuahua/~corgi/~rottweiler/~pitbull,"
        " cat/kitten/~kitty, horse/pony/~foal/~mare/~stallion,"
        " cow/~calf/~bull/~cattle/~ox, sheep/lamb/~ram, goat, pig/~piglet, elephant, zebra,"
        " giraffe, bear/~polar bear/~panda, lion, tiger, monkey, rabbit/~bunny, deer/~moose,"
        " camel, llama/~alpaca, kangaroo, fox, wolf, squirrel, mouse/~rat, donkey/~mule",
    ),
    "bird kind": Group(
        "animate",
        "duck, goose, swan, pigeon, seagull/~gull, parrot, owl, eagle/~hawk, penguin,"
        " chicken/~hen/~rooster, peacock, flamingo, ostrich",
    ),
    "creature": Group(
        "animate",
        "turtle/~tortoise, snake, lizard, frog, crocodile/~alligator, dolphin, shark, whale,"
        " butterfly, bee, spider",
    ),
    "vehicle": Group(
        "thing",
        "car/~automobile/~sedan, truck/~lorry, bus, van, train, motorcycle/motorbike, bicycle,"
        " boat, airplane/plane/~aeroplane, helicopter, taxi, tractor, scooter/~moped, canoe,"
        " sailboat, ambulance, fire truck/~fire engine, wagon",
    ),
    "seat": Group("thing", "chair, couch/sofa, bench, bed, stool, swing, hammock, sled"),
    "furniture": Group(
        "thing", "table, desk, bookshelf/bookcase, dresser, cabinet/~cupboard, nightstand"
    ),
    "electronics": Group(
        "thing",
        "laptop, phone/cellphone/cell phone/~telephone/~smartphone, camera,"
        " television/tv, keyboard, microphone, remote/~remote control",
    ),
    "vessel": Group("thing", "cup/mug, bowl, plate, bottle, vase, bucket/~pail, jar"),
    "cutlery": Group("thing", "fork, knife, spoon, pair of chopsticks"),
    "meal": Group(
        "thing",
        "pizza, sandwich, cake, salad, burger/hamburger, hot dog/~hotdog, donut/doughnut, pie,"
        " taco, cupcake, pancake, waffle, cookie, omelette",
    ),
    "fruit": Group(
        "thing",
        "apple, banana, pear, lemon, strawberry, pineapple, peach, watermelon, carrot, tomato,"
        " potato, onion, cucumber",
    ),
    "dish": Group(
        "stuff", "rice, bread, soup, pasta/~spaghetti, cheese, ice cream, popcorn, broccoli"
    ),
    "drink": Group("stuff", "coffee, tea, beer, wine, milk, juice, lemonade"),
    "upper clothing": Group(
        "worn",
        "shirt/t-shirt/tshirt/tee shirt/~tee/~blouse, dress/~gown, sweater, jacket/coat,"
        " tank top, bathrobe/~robe, suit/~tuxedo, hoodie/~sweatshirt, vest, apron",
    ),
    "lower clothing": Group("worn", "shorts, pants/jeans/~trousers, skirt/~tutu/~kilt"),
    "headgear": Group("worn", "hat, helmet, cap, crown, headband/~bandana/~bandanna, turban"),
    "footwear": Group("worn", "sneakers, boots, sandals, flip flops, high heels"),
    "toy": Group(
        "thing",
        "ball, frisbee/~disc, stick/~branch, balloon, kite, ~rope, bone, newspaper, shoe, glove",
    ),
    "doll": Group("thing", "teddy bear/stuffed bear, doll, action figure"),
    "board": Group("thing", "skateboard, surfboard, snowboard, wakeboard"),
    "instrument": Group(
        "thing",
        "guitar, piano, violin/~fiddle, drum, trumpet, saxophone, flute, accordion, cello, harp,"
        " banjo, tuba, trombone, clarinet",
    ),
    "game": Group(
        "game",
        "soccer, tennis, basketball, football, baseball/~softball, volleyball, golf, hockey,"
        " rugby/~lacrosse, cricket, badminton, chess",
    ),
    "luggage": Group("thing", "backpack/~rucksack, suitcase, purse/handbag, basket, umbrella"),
    "household": Group(
        "thing", "book, clock, mirror, lamp, pillow, blanket, towel, candle, painting, calendar"
    ),
    "plant": Group("thing", "tree, flower/~rose/~tulip, ~cactus, ~mushroom"),
    "building": Group(
        "place",
        "house, church/~cathedral, barn, castle, skyscraper, lighthouse, tent, windmill, hospital",
    ),
    "outside": Group(  # what one is on
        "place",
        "beach/~shore, street/road/~highway, field/~meadow, sidewalk/~pavement, bridge, roof,"
        " hill, mountain, dock/pier, stage, trampoline, balcony, staircase, racetrack, playground,"
        " tennis court, basketball court, baseball field, soccer field, football field, island",
    ),
    "inside": Group(  # what one is in
        "place",
        "park, forest/~woods, garden, desert, kitchen, bathroom, bedroom, living room,"
        " office, restaurant/~cafe, classroom, gym, library, garage, museum, supermarket,"
        " swimming pool/pool, river/~stream/~creek, lake/~pond, ocean/sea, parking lot, stadium,"
        " airport, tunnel, cave, hallway, zoo",
    ),
    "ground": Group("stuff", "grass, snow, water, sand, mud/~dirt, gravel"),
}

# may be said of one thing, or be seen together so often that neither denies the other
NEAR = (
    "street, road, sidewalk, city, bridge, town, parking lot, intersection",
    "beach, ocean, water, sand, island, coast, shoreline, dock, wave, bay",
    "hill, mountain, cliff, rock, slope, ledge, desert, valley, peak",
    "park, garden, forest, yard, backyard, lawn, field, playground, zoo",
    "grass, field, lawn, park, yard",
    "soccer, football, rugby",
    "soccer field, football field, field, stadium, baseball field, grass, park",
    "tennis court, basketball court, court, gym, playground, stadium",
    "river, lake, ocean, water, swimming pool, waterfall, pond",
    "sand, mud, gravel, ground, desert",
    "snow, ice, mountain, hill, slope",
    "house, building, barn, church, castle",
    "hat, cap, headband, helmet, hood",
    "jacket, sweater, vest, suit, hoodie, bathrobe",
    "shirt, tank top, vest, jacket, suit, uniform, jersey, top, sweater, hoodie, apron",
    "skirt, dress",
    "shorts, swimsuit, trunks, bathing suit, swimming trunks",
    "sneakers, shoe, boots, sandals, flip flops, high heels",
    "bicycle, tricycle, unicycle, motorcycle, scooter",
    "boat, canoe, sailboat, ship, kayak, raft",
    "truck, van, fire truck, tractor, ambulance, car",
    "horse, donkey, zebra",
    "dog, fox, wolf",
    "sheep, goat, lamb",
    "duck, goose, swan",
    "table, desk, counter, nightstand, dresser, cabinet",
    "couch, chair, seat, armchair, recliner, stool",
    "bench, seat, swing",
    "sink, counter",
    "cup, glass, jar, bucket, vase",
    "bowl, plate, dish",
    "cake, pie, cupcake, pancake, dessert",
    "sandwich, burger, hot dog, taco",
    "soup, pasta, rice",
    "living room, bedroom, office, room",
    "kitchen, restaurant, room",
    "gym, classroom, hallway, room, stage",
    "book, newspaper, magazine",
    "ball, tennis ball, basketball, soccer ball, football, baseball, volleyball",
    "stick, bone, rope, toy",
    "tree, flower, plant, bush",
    "backpack, bag, purse, basket, suitcase",
    "cyclist, motorcyclist, rider",
    "skateboarder, snowboarder, surfer, wakeboarder",
    "wrestler, boxer, gymnast",
    "dolphin, whale, shark",
    "lizard, crocodile, snake",
    "wine, beer, juice, drink, lemonade, tea, coffee",
    "man, boy",
    "child, kid, toddler, baby, teenager",
    "woman, girl",
)

# the first may be said of each of the others
ABOVE = (
    "person: man, woman, boy, girl, profession, sportsman, child, kid, toddler, baby, adult,"
    " teenager, friend, player, athlete, rider, worker",
    "adult: man, woman, profession, sportsman",
    "child: boy, girl",
    "kid: boy, girl",
    "toddler: boy, girl",
    "baby: boy, girl",
    "teenager: boy, girl, man, woman",
    "someone: person, man, woman, boy, girl, profession, sportsman",
    "friend: man, woman, boy, girl",
    "player: man, woman, boy, girl",
    "athlete: man, woman, boy, girl, sportsman",
    "rider: man, woman, boy, girl, sportsman",
    "worker: man, woman, profession",
    "couple: person, child, kid, man, woman, boy, girl",
    "family: person, child, kid, man, woman, boy, girl",
    "group: person, child, kid, man, woman, boy, girl, profession, sportsman",
    "crowd: person, child, kid, man, woman, boy, girl, profession, sportsman",
    "team: person, man, woman, boy, girl, sportsman",
    "parent: man, woman",
    "bride: woman",
    "mother: woman",
    "mom: woman",
    "wife: woman",
    "groom: man",
    "father: man",
    "dad: man",
    "husband: man",
    "daughter: girl",
    "sister: girl",
    "son: boy",
    "brother: boy",
    "animal: mammal, bird kind, creature",
    "pet: dog, cat, rabbit, mouse, parrot",
    "bird: bird kind",
    "vehicle: vehicle",
    "bike: bicycle, motorcycle, scooter",
    "cab: taxi",
    "jet: airplane",
    "aircraft: airplane, helicopter",
    "ship: boat, sailboat",
    "kayak: boat, canoe",
    "raft: boat, canoe",
    "furniture: seat, furniture",
    "seat: seat",
    "appliance: oven, stove, refrigerator, fridge, microwave, toaster, dishwasher",
    "fixture: toilet, sink, bathtub, shower",
    "car: taxi, van, ambulance",
    "computer: laptop",
    "device: electronics",
    "dish: vessel",
    "glass: cup, bottle",
    "container: vessel, luggage",
    "utensil: cutlery",
    "silverware: cutlery",
    "food: meal, fruit, dish",
    "meal: meal, fruit, dish",
    "dessert: cake, donut, pie, cupcake, pancake, waffle, cookie, ice cream",
    "fruit: fruit",
    "vegetable: fruit, broccoli",
    "drink: drink",
    "beverage: drink",
    "clothes: upper clothing, lower clothing",
    "clothing: upper clothing, lower clothing",
    "outfit: upper clothing, lower clothing",
    "uniform: upper clothing, lower clothing",
    "costume: upper clothing, lower clothing",
    "top: upper clothing",
    "jersey: shirt",
    "raincoat: jacket",
    "toy: toy, doll",
    "object: toy, luggage, household",
    "board: board",
    "bag: luggage",
    "plant: plant",
    "building: building",
    "city: outside, office, restaurant, museum, parking lot, stadium",
    "road: staircase",
    "trail: street",
    "path: street",
    "track: racetrack",
    "room: kitchen, bathroom, bedroom, living room, office, restaurant, classroom, gym, hallway",
    "store: supermarket",
    "court: tennis court, basketball court",
    "ramp: stage",
    "water: swimming pool, river, lake, ocean",
    "ground: ground",
    "instrument: instrument",
    "sport: game",
)
