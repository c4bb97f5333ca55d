"""What people click in Harbor's Administration, as a file: registries, rules, webhooks, a robot.

`reading` makes the file a value (`sections`, `words`), `looking` asks Harbor what it has,
`planning` compares the two (`registries`, `rules`, `webhooks`, `robot`: how one thing reads in the
file and in Harbor), `showing` tells the difference, `applying` makes it so and reads it back.
`export` goes the other way. A field that the file does not name is left as Harbor has it.
"""
