"""Which classes of a detector a counted noun means: "puppies" are dogs, "two men" are persons.

Words for the 80 classes of COCO are listed here; of any other vocabulary a noun means the label of
the same name, or those that end in it ("squares" of "red square" and "blue square").
"""

from collections.abc import Collection, Mapping
from functools import cache
from types import MappingProxyType

from data_tools.plurals import singular
from data_tools.word_lists import names, words

COCO = names(
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire "
    "hydrant, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, "
    "bear, zebra, giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, skis, "
    "snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, "
    "tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, "
    "sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted "
    "plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard, cell phone, "
    "microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, "
    "hair drier, toothbrush"
)
_OTHER_SPELLINGS: Mapping[str, str] = MappingProxyType(
    {
        "aeroplane": "airplane",
        "motorbike": "motorcycle",
        "tvmonitor": "tv",
        "television": "tv",
        "sofa": "couch",
        "pottedplant": "potted plant",
        "diningtable": "dining table",
        "hair dryer": "hair drier",
        "doughnut": "donut",
        "cellphone": "cell phone",
    }
)
_PERSONS = words(
    "person man woman child boy girl guy gal lady gentleman kid baby toddler infant teen "
    "teenager adult adolescent youth male female human individual pedestrian passenger rider "
    "cyclist bicyclist biker motorcyclist skier snowboarder skater skateboarder surfer swimmer "
    "diver runner jogger walker hiker climber dancer player athlete wrestler boxer golfer "
    "footballer cricketer gymnast cheerleader batter pitcher catcher umpire referee soldier "
    "sailor officer policeman policewoman fireman firefighter worker employee chef cook waiter "
    "waitress doctor nurse student pupil teacher schoolgirl schoolboy singer musician guitarist "
    "drummer actor actress performer friend girlfriend boyfriend brother sister twin sibling "
    "daughter son mother father mom mum dad parent grandparent grandchild bride groom "
    "bridesmaid groomsman businessman businesswoman cowboy cowgirl equestrian jockey fisherman "
    "farmer tourist visitor spectator traveler traveller shopper customer monk priest nun king "
    "queen member participant competitor contestant racer driver motorist model blonde brunette "
    "spouse colleague coworker teammate ballerina hipster sportsman sportswoman salesperson "
    "onlooker bystander camper rafter kayaker canoer rower recruit fencer defender mountaineer "
    "fighter clown scout commuter bandmate guard judge youngster backpacker paddler pilot "
    "responder showgirl astronaut scientist"
)
_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "bicycle": "bicycle,cycle",
        "car": "car,sedan,taxi,cab,suv,automobile,convertible,jeep",
        "motorcycle": "motorcycle,motorbike,moped,scooter,motor bike",
        "airplane": "airplane,aeroplane,plane,jet,airliner,jetliner,biplane,aircraft,fighter jet",
        "bus": "bus,coach,city bus,school bus",
        "train": "train,locomotive",
        "truck": "truck,lorry,pickup,semi,fire truck,pickup truck,dump truck",
        "boat": "boat,ship,sailboat,canoe,kayak,rowboat,yacht,ferry,speedboat,raft,gondola,vessel",
        "traffic light": "traffic light,traffic signal,stoplight,stop light",
        "fire hydrant": "fire hydrant,hydrant",
        "stop sign": "stop sign",
        "parking meter": "parking meter",
        "bench": "bench",
        "bird": "bird,duck,goose,swan,pigeon,dove,seagull,gull,parrot,parakeet,owl,eagle,hawk,"
        "vulture,crow,raven,sparrow,robin,finch,chicken,hen,rooster,turkey,penguin,pelican,"
        "flamingo,heron,crane,stork,ostrich,peacock,duckling,chick,macaw,falcon,hummingbird",
        "cat": "cat,kitten,kitty,tabby",
        "dog": "dog,puppy,pup,hound,greyhound,terrier,poodle,retriever,bulldog,labrador,lab,"
        "dachshund,chihuahua,pug,beagle,collie,husky,spaniel,dalmatian,shepherd,german shepherd,"
        "corgi,boxer dog,doggie,mutt,whippet,doberman,weimaraner,samoyed,golden retriever,"
        "border collie",
        "horse": "horse,pony,foal,mare,stallion,colt",
        "sheep": "sheep,lamb,ram,ewe",
        "cow": "cow,bull,calf,ox,cattle,steer,heifer",
        "elephant": "elephant,baby elephant",
        "bear": "bear,polar bear,brown bear,grizzly,grizzly bear,black bear,bear cub",
        "zebra": "zebra",
        "giraffe": "giraffe",
        "backpack": "backpack,rucksack,knapsack",
        "umbrella": "umbrella,parasol",
        "handbag": "handbag,purse",
        "tie": "tie,necktie",
        "suitcase": "suitcase",
        "frisbee": "frisbee",
        "snowboard": "snowboard",
        "sports ball": "ball,soccer ball,tennis ball,football,basketball,baseball,volleyball",
        "kite": "kite",
        "baseball bat": "baseball bat",
        "baseball glove": "baseball glove,baseball mitt",
        "skateboard": "skateboard,skate board",
        "surfboard": "surfboard,surf board",
        "tennis racket": "tennis racket,tennis racquet,racket,racquet",
        "bottle": "bottle,wine bottle,beer bottle,water bottle",
        "wine glass": "wine glass,wineglass",
        "cup": "cup,mug,teacup,coffee cup,coffee mug",
        "fork": "fork",
        "knife": "knife",
        "spoon": "spoon",
        "bowl": "bowl",
        "banana": "banana",
        "apple": "apple",
        "sandwich": "sandwich",
        "orange": "orange",
        "carrot": "carrot",
        "hot dog": "hot dog,hotdog",
        "pizza": "pizza,pizza pie",
        "donut": "donut,doughnut",
        "cake": "cake",
        "chair": "chair,armchair",
        "couch": "couch,sofa,loveseat",
        "potted plant": "potted plant,houseplant",
        "bed": "bed,double bed,twin bed,bunk bed",
        "dining table": "dining table",
        "toilet": "toilet",
        "tv": "tv,television,monitor,computer monitor,tv set,television set,computer screen",
        "laptop": "laptop,laptop computer",
        "mouse": "computer mouse",
        "remote": "remote,remote control,wii remote",
        "keyboard": "keyboard,computer keyboard",
        "cell phone": "cell phone,cellphone,mobile phone,smartphone,phone,iphone",
        "microwave": "microwave,microwave oven",
        "oven": "oven",
        "toaster": "toaster",
        "sink": "sink",
        "refrigerator": "refrigerator,fridge",
        "book": "book",
        "clock": "clock",
        "vase": "vase",
        "skis": "ski",
        "scissors": "scissor",
        "teddy bear": "teddy bear,stuffed bear,teddy,stuffed animal",
        "hair drier": "hair dryer,hair drier,blow dryer",
        "toothbrush": "toothbrush,tooth brush",
    }
)
# of several classes together; any of them that the detector knows
_ABOVE: Mapping[str, str] = MappingProxyType(
    {
        "animal": "bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe",
        "vehicle": "bicycle,car,motorcycle,bus,train,truck",
        "bike": "bicycle,motorcycle",
        "utensil": "fork,knife,spoon",
        "fruit": "banana,apple,orange",
    }
)
# what sounds like a class and is none
_NONE = names(
    "sea lion, prairie dog, guinea pig, mouse, bat, sea horse, toy car, model car, rubber "
    "duck, toy train, train car, paper airplane, toy plane, toy truck, cable car, ice cream "
    "cake, bath toy, book case, polar bear plush, orange juice, bus stop, stuffed dog, "
    "stuffed cat, bird house, car part, clay bird"
)
_LONGEST = 3  # words of a name


def canonical(label: str) -> str:
    """A label of a detector as it is compared: lower case, spaces, one of several spellings."""
    label = " ".join(label.lower().replace("_", " ").replace("-", " ").split())
    return _OTHER_SPELLINGS.get(label, label)


def counted_classes(
    phrase: tuple[str, ...], vocabulary: Collection[str] = COCO
) -> frozenset[str] | None:
    """The classes that the noun at the end of a phrase means; None where the detector has none.

    Args:
        phrase: words in lower case, the last of them the noun.
        vocabulary: the detector's labels, `canonical`.
    """
    if not phrase:
        return None
    words = (*phrase[:-1], singular(phrase[-1]))
    for length in range(min(_LONGEST, len(words)), 0, -1):
        name = " ".join(words[-length:])
        known = _meanings().get(name)
        if known is not None:
            return frozenset(known).intersection(vocabulary) or None
        if name in vocabulary:
            return frozenset([name])
    ending = frozenset(
        label for label in vocabulary if label not in COCO and label.endswith(f" {words[-1]}")
    )
    return ending or None


@cache
def _meanings() -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = dict.fromkeys(_PERSONS, ("person",))
    found |= {name: names(classes) for name, classes in _ABOVE.items()}
    for label, meant in _WORDS.items():
        found |= dict.fromkeys(names(meant), (label,))
    return found | dict.fromkeys(_NONE, ())
