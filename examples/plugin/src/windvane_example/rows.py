"""The names that this package adds. Imported when names are asked for, so it imports no more than Row."""

from windvane.registry import Row

ROWS = [
    Row(
        "sampler",
        "midpoint",
        "windvane_example.midpoint:Midpoint",
        "the midpoint rule",
    ),
    Row("grid", "cubic", "windvane_example.cubic:cubic", "finer still towards the data"),
    Row("guidance", "away", "windvane_example.away:Away", "away from a weaker model: weak=RUN"),
    Row("energy", "stripes", "windvane_example.stripes:Stripes", "so many stripes: stripes=COUNT"),
    Row("network", "tiny_conv", "windvane_example.tiny_conv:TinyConv", "two convolutions"),
    Row("objective", "huber", "windvane_example.huber:Huber", "the pseudo-Huber loss"),
    Row("corruption", "holes", "windvane_example.holes:Holes", "noise, and numbers set to 0"),
    Row("model", "empirical", "windvane_example.empirical:EmpiricalKind", "the samples themselves"),
    Row("signal", "angle", "windvane_example.angle:Angle", "an angle in radians, added"),
    Row("command", "seeds", "windvane_example.seeds:seeds", "the seeds of a folder of samples"),
    Row("annotator", "boxes:middle", "windvane_example.middle:Middle", "a box about the middle"),
    Row("features", "colours", "windvane_example.colours:Colours", "a histogram of each channel"),
]
