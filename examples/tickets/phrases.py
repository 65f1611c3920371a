"""What customers write: the sentence pools of the ticket generator, each with phrasings held out for the test.

`[a|b|c]` is a choice, `{product}` and the like are slots. A pool is (seen, held out): training uses the first part only.
The held-out part words the same intents with other sentences; it shares everyday vocabulary with the rest, not templates.
"""

from __future__ import annotations

Pool = tuple[list[str], list[str]]

ISSUES: dict[str, Pool] = {
    "delivery": (
        [
            "The {product} [still has not|has not yet|never] [arrived|shown up|turned up|reached me].",
            "I am [still|] waiting for the {product} and [nothing came|the parcel is nowhere to be seen|no courier came].",
            "My {product} was supposed to [arrive|be here|be delivered] [last week|days ago|on Monday], but [nothing came|it is late|no sign of it].",
            "Where is my {product}? The tracking [has not moved|shows nothing|is stuck] [for days|since last week|].",
            "The courier marked the {product} as delivered, but [I got nothing|the box is not here|nobody rang].",
            "It has been [two|three|four] weeks and the {product} is [not here|still in transit|still missing].",
            "The parcel with the {product} seems to be [lost|missing|stuck] [at the depot|on the way|in transit|].",
            "[When|On what day] will the {product} [finally arrive|be delivered|get here]? It is [overdue|late].",
        ],
        [
            "No {product} in my mailbox so far, the shipment [must be late|looks lost].",
            "Delivery of the {product} is overdue, the carrier [has no idea where it is|lost it, it seems].",
        ],
    ),
    "damaged": (
        [
            "The {product} arrived [broken|cracked|dented|scratched|smashed].",
            "When I opened the box, the {product} was [cracked|in pieces|shattered|badly scratched|dented].",
            "The {product} came with [a big crack|a dent|deep scratches|a broken corner|a torn cover].",
            "The box was [crushed|torn|soaked] and the {product} inside is [damaged|broken|dented].",
            "Somebody must have dropped the parcel, my {product} is [bent|cracked|broken|chipped].",
            "I unpacked the {product} and [one side was smashed|it was in pieces|the glass was shattered].",
            "Sadly the {product} got damaged [in transit|on the way|during shipping|by the courier].",
            "[One corner|The front|The back] of the {product} is [cracked|dented|chipped|scratched] [out of the box|on arrival|].",
        ],
        [
            "The {product} was not packed well and reached me [dented|shattered|with a crack].",
            "There is [a long scratch|a crack|a dent] on the new {product}, it was like that when it arrived.",
        ],
    ),
    "defect": (
        [
            "The {product} [does not|will not|won't] [turn on|switch on|start|power on].",
            "After [two days|a week|a month] the {product} [stopped working|just died|went dead].",
            "The {product} [makes a strange noise|keeps switching off|overheats|flickers] [all the time|after a few minutes|].",
            "My {product} [no longer works|is not working any more|has failed|is dead].",
            "The {product} worked [for a week|once|at first] and then [stopped|died|failed].",
            "There is a fault in the {product}: it [keeps crashing|shuts down|does not charge|will not start].",
            "I cannot get the {product} to work, it [shows an error|stays dark|does nothing|only beeps].",
            "The [button|display|motor|switch] of the {product} [does not respond|stopped working|has failed|is dead].",
        ],
        [
            "The {product} [quit working|has a fault and shuts down|died] [on the second day|after a short while].",
            "Whatever I try, the {product} does not [start|power on|charge], it seems [defective|faulty].",
        ],
    ),
    "wrong_item": (
        [
            "I ordered the {product} but [got something else|received a different item|another item was in the box].",
            "You sent me the wrong [item|thing|article] instead of the {product}.",
            "Instead of the {product} I [received|got|found] [something I never ordered|a different model|the wrong colour].",
            "The box had [a different article|the wrong size|another model] in it, not the {product}.",
            "This is not the {product} that I ordered, it is [another model|the wrong colour|a different size].",
            "My order was the {product}, what came is [not that|something different|the wrong model].",
            "There was a mix-up: I should have got the {product}, not [this one|what was in the box|some other item].",
            "The {product} you sent is [the wrong colour|the wrong size|not the model I chose].",
        ],
        [
            "Someone [mixed up|confused] the boxes, what I got is different from the {product} I ordered.",
            "I opened the parcel and it was the wrong article, [no {product} inside|the {product} was swapped].",
        ],
    ),
    "refund": (
        [
            "I sent the {product} back and [still have no refund|have not got my money back|nothing was refunded].",
            "Please refund [me for|] the {product}[, I returned it| I sent back|].",
            "I want my money back for the {product}.",
            "When will I [get|see|receive] the refund for the {product}?",
            "You promised to refund the {product}, but [no money came|my account shows nothing|nothing was paid back].",
            "The {product} went back [last week|two weeks ago|to you], where is my [refund|money]?",
            "I would like [a refund|my money returned|the money back] for the {product} I [gave back|returned|sent back].",
            "My refund for the {product} [is missing|has not come through|is still open].",
        ],
        [
            "I returned the {product}, kindly [pay me back|send the refund|reimburse me].",
            "The reimbursement for the {product} I sent back [has not reached my account|never came].",
        ],
    ),
    "billing": (
        [
            "I was charged twice for the {product}.",
            "The invoice for the {product} [is wrong|shows the wrong price|has a wrong total].",
            "My card was [charged|billed|debited] [twice|two times|too much] for the {product}.",
            "You billed me [twice|too much|the wrong sum] for the {product}.",
            "On my bank statement there are two [charges|payments|debits] for the {product}.",
            "The price on the bill for the {product} is [higher than on the site|not what I agreed to|not right].",
            "The discount for the {product} is [missing on the invoice|not on the bill|not in the charge].",
            "Why [was I charged|did you bill me|did you take payment] for the {product} [again|a second time|two times]?",
        ],
        [
            "There is an extra charge for the {product} on my [card|bank statement].",
            "Your invoice lists the {product} [two times|at too high a price], I was billed too much.",
        ],
    ),
    "cancel": (
        [
            "Please cancel [my order of|the order for|] the {product}.",
            "I [want|would like|need] to cancel the {product}[ I ordered| from my order|].",
            "I no longer [need|want] the {product}, please [stop the order|do not ship it|cancel it].",
            "I changed my mind about the {product}, [do not send it|please cancel|stop the order].",
            "Can you stop the order of the {product} before it ships?",
            "I ordered the {product} by [mistake|accident], please [cancel it|stop it|do not ship].",
            "Is it still possible to cancel the {product}?",
            "Kindly [call off|withdraw|cancel] my order for the {product}.",
        ],
        [
            "I have to withdraw my order, I do not need the {product} any more.",
            "Could you cancel before shipping? The {product} is no longer wanted.",
        ],
    ),
    "question": (
        [
            "[Does|Will] the {product} [fit|work with|go with] [older models|the basic stand|a normal socket]?",
            "How do I [clean|set up|store|reset] the {product}?",
            "I have a question about the {product}: [how long is the warranty|is there a manual|which parts are included]?",
            "Is the {product} [suitable for children|waterproof|also sold in blue|safe for outdoors]?",
            "Can you tell me [how heavy the {product} is|which battery the {product} takes|how to set up the {product}]?",
            "What [size|colour|material|weight] is the {product}?",
            "I wonder [if|whether] the {product} [comes with a manual|can be used outdoors|is compatible with older parts].",
            "Where can I find [the manual|spare parts|instructions|a guide] for the {product}?",
        ],
        [
            "Could you explain how to [clean|use|store] the {product}?",
            "I am curious, is the {product} compatible with [other parts|a bigger battery]?",
        ],
    ),
}
URGENT: Pool = (
    [
        "This is urgent.",
        "I need [this|it] [sorted|solved|settled] by tomorrow.",
        "Please [reply|act|answer] today, it cannot wait.",
        "We [leave|fly|travel] tomorrow, so please hurry.",
        "[Please act|I need an answer] as soon as possible.",
        "It is a gift for [tonight|tomorrow|the weekend], so [time is short|please be quick].",
        "I need help right away.",
        "URGENT please!",
    ],
    ["There is no time to lose, please hurry.", "I need this today, it is really urgent."],
)
RELAXED: Pool = (
    [
        "There is no rush.",
        "No hurry [at all|from my side|].",
        "Take your time.",
        "Whenever you have a minute is fine.",
        "This can wait [until next week|a while|].",
        "It is not urgent.",
    ],
    ["No need to rush, next week is fine.", "It can wait, take your time."],
)
ORDER: Pool = (
    [
        "[My|The] order number is {order}.",
        "Order {order}.",
        "The order is {order}.",
        "It is order {order}.",
        "Order no. {order}.",
        "[My|The] order: #{order}.",
        "This is about order {order}.",
        "You will find it under {order}.",
        "[Ref|Reference]: {order}.",
        "(order {order})",
        "I ordered it under {order}[ on {date}|].",
    ],
    ["It belongs to order number {order}.", "Please look up {order}."],
)
PAID: Pool = (
    [
        "I paid {amount}[ for it|].",
        "It cost [me|] {amount}.",
        "The price was {amount}.",
        "That was {amount}.",
        "{amount} [was|were] taken from my [card|account].",
        "We are talking about {amount}.",
        "The total was {amount}.",
    ],
    ["It was {amount} in total.", "I spent {amount} on it."],
)
NAMED: Pool = (
    [
        "My name is {name}.",
        "This is {name}.",
        "{name} here.",
        "I am {name}.",
        "This is {name} from {city}.",
        "My name is {name}, I live in {city}.",
        "I'm {name}, a customer from {city}.",
    ],
    ["{name} is my name.", "You are talking to {name}."],
)
SIGNED: Pool = (
    [
        "[Regards|Best regards|Kind regards|Thanks|Best|Cheers|Many thanks],\n{name}",
        "Thank you, {name}",
        "- {name}",
        "{name}",
        "[Yours|Sincerely|Greetings],\n{name}\n{city}",
        "[Regards|Thanks],\n{name}\nTel. {phone}",
    ],
    ["All the best\n{name}", "Signed: {name}"],
)
GREETING: Pool = (
    [
        "Hello,",
        "Hi,",
        "Hi there,",
        "Hello team,",
        "Dear support,",
        "Good morning,",
        "Good evening,",
        "Hey,",
        "Dear Sir or Madam,",
        "To whom it may concern,",
        "",
        "",
        "",
    ],
    ["Dear all,", "Good day,"],
)
CHATTER: Pool = (
    [
        "I hope you are [well|doing fine].",
        "I have been a customer for [years|a long time|two years].",
        "Thanks in advance for your help.",
        "I tried to call but the line was busy.",
        "I usually like your shop.",
        "Your site is nice, by the way.",
        "I already wrote last week.",
        "We live in {city}.",
        "It was raining when the postman came.",
        "My [son|daughter|sister|neighbour] was looking forward to it.",
        "I bought it on {date}.",
        "My colleague {other} said you could help.",
        "I talked to {other} on the phone.",
        "I also have [{small}|two|three] other orders.",
        "My customer number is {small}.",
        "You can reach me at {phone}.",
        "The tracking number was {tracking}.",
        "It was ordered on {date}.",
        "I am a bit disappointed.",
        "I looked everywhere on your page.",
        "The invoice has the number {invoice}.",
        "Your agent {other} was very friendly.",
        "The shipping address is in {city}.",
    ],
    [
        "I used your contact form on {date} too.",
        "Last year I met {other} at your store in {city}.",
        "My postcode is {small}.",
        "The chat window closed before I could finish.",
    ],
)
CLOSING: Pool = (
    [
        "Please help.",
        "What can we do?",
        "Please let me know.",
        "Thanks!",
        "Thank you.",
        "I look forward to your answer.",
        "Please advise.",
        "",
        "",
        "",
    ],
    ["Hope to hear from you.", "Many thanks for looking into it."],
)
